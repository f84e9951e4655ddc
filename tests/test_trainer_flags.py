"""Every flag of Lightning's Trainer works with the loader, metrics and optimizers, or says why not.

The reference is the run without the flag: what must not change the training gives the same weights
bit for bit, what does change it gives another number of steps or other weights.
"""

import inspect
import os
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from conftest import main
from lightning.pytorch import Trainer

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli import parts_of_trainer

PLAIN = ("--epochs=2", "--limit_train_batches=3", "--net.hidden=[8]", "--val_fraction=0.5")
SAME = [  # 6 steps, the same weights; together in one run, and each alone in a slow test
    "--accelerator=cpu",
    "--strategy=auto",
    "--devices=1",
    "--num_nodes=1",
    "--precision=32-true",
    "--logger=true",
    "--callbacks=[]",
    "--fast_dev_run=false",
    "--min_epochs=1",
    "--max_steps=6",
    "--min_steps=2",
    "--max_time=00:01:00:00",
    "--limit_val_batches=1",
    "--limit_test_batches=0.5",
    "--limit_predict_batches=1",
    "--check_val_every_n_epoch=2",
    "--num_sanity_val_steps=0",
    "--log_every_n_steps=0",
    "--enable_checkpointing=true",
    "--enable_progress_bar=false",
    "--enable_model_summary=true",
    "--gradient_clip_val=1e9",
    "--gradient_clip_algorithm=value",
    "--deterministic=warn",
    "--benchmark=true",
    "--inference_mode=false",
    "--use_distributed_sampler=false",
    "--profiler=simple",
    "--detect_anomaly=true",
    "--plugins=[]",
    "--sync_batchnorm=true",
    "--reload_dataloaders_every_n_epochs=1",
    "--default_root_dir=elsewhere",
    "--enable_autolog_hparams=false",
    "--model_registry=name",
]
SAME_ALONE = [
    "--barebones=true",
    "--limit_val_batches=0",
    "--limit_test_batches=0",
    "--val_check_interval=1",
    "--val_check_interval=2 --check_val_every_n_epoch=null",
    "--num_sanity_val_steps=-1",
    "--logger=false --enable_checkpointing=false",
    "--callbacks+=LearningRateMonitor",
    "--deterministic=true",
    "--profiler=advanced",
    "--plugins=lightning.pytorch.plugins.AsyncCheckpointIO",
    "--overfit_batches=0",
    "--max_epochs=-1 --max_steps=6",
]
OTHER = {  # steps; other weights
    "--fast_dev_run=2": 2,
    "--max_epochs=1": 3,
    "--max_steps=4": 4,
    "--min_steps=8": 6,
    "--max_time=00:00:00:00": 0,
    "--limit_train_batches=0.1": 2,
    "--limit_train_batches=0": 0,
    "--overfit_batches=1": 2,
    "--overfit_batches=2 --reload_dataloaders_every_n_epochs=1": 4,
    "--accumulate_grad_batches=2": 4,
    "--accumulate_grad_batches=100 --ema=0.9 --scheduler=OneCycleLR": 2,
    "--gradient_clip_val=1e-3": 6,
    "--gradient_clip_val=1e-3 --gradient_clip_algorithm=value --precision=bf16-mixed": 6,
    "--accumulate_grad_batches=2 --gradient_clip_val=1 --precision=bf16-mixed": 4,
    "--precision=64-true": 6,
    "--precision=64 --gradient_clip_val=1 --optimizer=LBFGS": 6,
    "--precision=bf16-true": 6,
    "--precision=16-true --detect_anomaly=true": 6,
}
REFUSED = {
    "--accelerator=nonsense": "invalid accelerator name",
    "--accelerator=tpu": "torch_xla",
    "--strategy=fsdp": "requires a GPU",
    "--strategy=nonsense": "invalid strategy name",
    "--devices=[0]": "should be an int > 0",
    "--num_nodes=0": "positive integer",
    "--precision=nonsense": "one of 'auto'",
    "--precision=transformer-engine": "transformer_engine",
    "--max_time=nonsense": "DD:HH:MM:SS",
    "--limit_train_batches=2.5": "limit_train_batches",
    "--val_check_interval=100": "less than or equal to the number of the training batches",
    "--gradient_clip_val=.nan": "--gradient_clip_val is nan; expected at least 0",
    "--num_sanity_val_steps=-2": "--num_sanity_val_steps is -2; expected at least -1",
    "--max_epochs=-5": "must be a non-negative integer or -1",
    "--max_steps=-5": "must be a non-negative integer or -1",
    "--devices=0": "",
    "--check_val_every_n_epoch=0": "--check_val_every_n_epoch is 0; expected at least 1",
    "--accumulate_grad_batches=0": "--accumulate_grad_batches is 0; expected at least 1",
    "--gradient_clip_algorithm=nonsense": "Allowed algorithms",
    "--deterministic=nonsense": "expected bool or one of 'warn'",
    "--profiler=nonsense": "'simple', 'advanced', 'pytorch'",
    "--barebones=true --profiler=simple": "disabled in barebones mode",
    "--precision=16-true --ema=0.9": "set --precision bf16-mixed",
    "--steps_per_execution=2 --overfit_batches=2": "can't go with",
}
FAST = {
    *("--barebones=true", "--val_check_interval=1", "--overfit_batches=1", "--precision=64-true"),
    *("--accumulate_grad_batches=2 --gradient_clip_val=1 --precision=bf16-mixed",),
    *("--val_check_interval=100", "--accumulate_grad_batches=0", "--devices=[0]"),
    *(
        "--precision=transformer-engine",
        "--gradient_clip_val=1e-3",
        "--barebones=true --profiler=simple",
    ),
}


@pytest.fixture(autouse=True)
def _global_switches() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def weights_after(*words: str) -> tuple[int, torch.Tensor]:
    done = main([*PLAIN, *words])
    assert done is not None
    weights = torch.cat([weight.detach().flatten() for weight in done.model.parameters()])
    return done.trainer.global_step, weights.double()


@cache
def plain() -> torch.Tensor:
    steps, weights = weights_after("--name=plain")
    assert steps == 6
    return weights


def rows(given: list[str]) -> list[object]:
    return [pytest.param(r, marks=() if r in FAST else pytest.mark.slow) for r in given]


def test_the_tables_name_every_flag():
    named = {
        w[2:].split("=")[0].rstrip("+") for r in [*SAME, *SAME_ALONE, *OTHER] for w in r.split()
    }
    assert set(inspect.signature(Trainer).parameters) <= named


@pytest.mark.filterwarnings("ignore:You passed `deterministic")
@pytest.mark.parametrize(
    "words", [pytest.param(" ".join(SAME), id="all"), *rows([*SAME, *SAME_ALONE])]
)
def test_what_must_not_change_the_training_does_not(words):
    steps, weights = weights_after(*words.split())
    assert steps == 6
    assert weights.equal(plain())


@pytest.mark.parametrize("words", rows(list(OTHER)))
def test_what_changes_the_training_does(words):
    steps, weights = weights_after(*words.split())
    assert steps == OTHER[words]
    assert weights.isfinite().all()
    assert weights.equal(plain()) == (words == "--min_steps=8")


@pytest.mark.parametrize("words", rows(list(REFUSED)))
def test_what_is_refused_says_why(fails, words):
    assert REFUSED[words] in fails(*PLAIN, *words.split())


@pytest.mark.parametrize("compiled", [False, True, "default", "reduce-overhead", "max-autotune"])
@pytest.mark.parametrize(("device", "batches"), [("cuda", 2), ("cuda", 1), ("cpu", 2)])
def test_cuda_graphs_and_accumulation_are_refused_together(compiled, device, batches):
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer = SimpleNamespace(strategy=strategy, accumulate_grad_batches=batches)
    graphs = str(compiled) in ("reduce-overhead", "max-autotune")
    if graphs and (device, batches) == ("cuda", 2):
        with pytest.raises(
            UserError, match="set --compile default, or --accumulate_grad_batches 1"
        ):
            parts_of_trainer._check_graphs(trainer, compiled)
    else:
        parts_of_trainer._check_graphs(trainer, compiled)
