"""A full memory is told in one line, with what to lower."""

import pytest
import torch

from lit_opt.module import LitModule

HUGE = 1 << 55


def fill(monkeypatch, step: str, error: Exception | None = None) -> None:
    def spoilt(self, *args):
        if error:
            raise error
        torch.empty(HUGE)

    monkeypatch.setattr(LitModule, step, spoilt)


def test_in_training_batch_size_is_named_and_nothing_that_is_set_already(fails, monkeypatch):
    fill(monkeypatch, "step")
    error = fails("--epochs=1", "--num_sanity_val_steps=0", "--batch_size=32", code=1)
    assert error == (
        f"error: out of memory (tried to allocate {4 * HUGE} bytes); lower --batch_size, now 32 "
        "(--accumulate_grad_batches 2 makes up for half of it), or set --precision bf16-mixed"
    )
    words = ["--num_sanity_val_steps=0", "--precision=bf16-mixed", "--accumulate_grad_batches=2"]
    error = fails(*words, code=1)
    assert "--precision" not in error
    assert "--accumulate_grad_batches 4 " in error


def test_in_an_evaluation_eval_batch_size_is_named(fails, trained, monkeypatch):
    trained("--epochs=1", "--no_test")
    for step, words in {
        "validation_step": [],
        "test_step": ["test", "--ckpt_path=runs/a/checkpoints/last.ckpt"],
    }.items():
        fill(monkeypatch, step)
        assert "lower --eval_batch_size, now 256, or set" in fails(*words, code=1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_device_s_memory_and_python_s(fails, monkeypatch, error):
    fill(monkeypatch, "training_step", error)
    told = fails(code=1)
    assert told.startswith("error: out of memory")
    assert ("(tried to allocate 20.00 GiB)" in told) == ("20.00" in str(error))
    assert len(told.splitlines()) == 1


def test_before_the_first_batch_no_batch_is_blamed(fails, monkeypatch):
    monkeypatch.setattr(LitModule, "configure_optimizers", lambda self: torch.empty(HUGE))
    assert "the net, or the data set, is too large" in fails(code=1)
