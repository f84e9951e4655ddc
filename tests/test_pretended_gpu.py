"""What runs in every step, on a pretended GPU: torch's FakeTensorMode, with shapes but no numbers.

Tensors of two devices in one operation raise, and so does what makes the host wait for the device:
`.item()`, `bool()`, `.tolist()`, a result of unknown length. Not pretended: the backward pass.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchmetrics.regression import MeanAbsoluteError, R2Score
from torchvision.transforms import v2

from lit_opt.datamodule import ImageData
from lit_opt.engine.callbacks import EMA, StopAtNonFinite
from lit_opt.engine.loading.augment import mix
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.loader import EpochSampler, LazyLoader, whole_batch
from lit_opt.engine.loading.normalize import Normalize
from lit_opt.engine.optim.optimizers import build_optimizer
from lit_opt.engine.optim.plan import Plan
from lit_opt.models import MLP, ConvNet, ResNet9
from lit_opt.module import LitModule
from lit_opt.sources import Digits

GPU = torch.device("cuda:0")
IMAGES = torch.arange(16 * 3 * 256).remainder(256).byte().reshape(16, 3, 16, 16)


@pytest.fixture
def gpu():
    """`gpu(model)` is `model.to(GPU)`, within the pretence; the model is built before it."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield lambda model: model.to(GPU)
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def pretend() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True)  # a real tensor is one on the CPU


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return IMAGES.to(GPU), torch.randint(10, (16,), device=GPU)


def test_the_pretence_finds_what_it_is_for():
    with pretend():
        x, y = batch()
        for wait in (
            lambda: y[0].item(),
            y.tolist,
            lambda: bool(y[0]),
            y.nonzero,
            lambda: x[y > 1],
        ):
            with pytest.raises((RuntimeError, NotImplementedError)):
                wait()
        for other in (torch.ones(16), torch.arange(16, device="cpu"), y.cpu()):
            with pytest.raises(RuntimeError, match=r"at least two devices|two different devices"):
                y + other


CASES = {
    "MLP": lambda: LitModule(MLP((3, 16, 16), dropout=0.1)),
    "ConvNet": lambda: LitModule(ConvNet(3, dropout=0.1)),
    "ResNet9": lambda: LitModule(ResNet9()),
}
LOSSES = [
    nn.CrossEntropyLoss(torch.ones(10), label_smoothing=0.1),
    nn.NLLLoss(),
    nn.KLDivLoss(reduction="batchmean"),
    nn.BCEWithLogitsLoss(torch.ones(10)),
    nn.MultiMarginLoss(),
    nn.L1Loss(reduction="sum"),
]
CASES |= {str(loss): lambda loss=loss: LitModule(MLP((3, 16, 16)), loss) for loss in LOSSES}
REGRESSION = {"mae": MeanAbsoluteError(), "r2": R2Score()}
CASES["regression"] = lambda: LitModule(MLP((3, 16, 16), 1), nn.HuberLoss(), REGRESSION)


@pytest.mark.parametrize("case", CASES)
def test_the_steps_of_the_module(gpu, case):
    model = CASES[case]()
    with pretend():
        model, (x, y) = gpu(model), batch()
        given = x.float(), torch.rand(16, 1, device=GPU) if case == "regression" else y
        for _ in range(2):
            assert model.training_step(given, 0).device == GPU
        model.validation_step(given, 0)
        model.test_step(given, 0)
        assert model.predict_step(given, 0).device == GPU
        model.val_scores.reset()
        model.validation_step(given, 0)
        if case != "regression":  # R2Score itself waits when it computes
            assert all(value.device == GPU for value in model.val_scores.compute().values())


ON = {"flip": True, "crop_padding": 2, "erasing": 0.5}


@pytest.mark.parametrize("options", [{}, ON, {"mixup": 1.0}, {"cutmix": 1.0}])
def test_what_happens_to_a_batch(gpu, monkeypatch, options):
    """MixUp and CutMix draw one number for the whole batch, on the host; those are given here."""
    drawn = {"lam": 0.3, "box": (1, 2, 5, 6), "lam_adjusted": 0.7}
    for mixer in (v2.MixUp, v2.CutMix):
        monkeypatch.setattr(mixer, "make_params", lambda self, inputs: drawn)
    monkeypatch.setattr(v2.RandomChoice, "forward", lambda self, *xy: self.transforms[0](*xy))
    data = ImageData(Digits(), **options)
    if data.hp.mixup or data.hp.cutmix:  # what draws is built once, and kept
        mix(IMAGES.float(), torch.arange(16) % 10, 10, data.hp.mixup, data.hp.cutmix)
    data.normalizer = Normalize(IMAGES, torch.arange(16), on=True)
    plugin = SimpleNamespace(convert_input=lambda xy: xy)
    data.trainer = SimpleNamespace(training=True, precision_plugin=plugin)
    model = LitModule(MLP((3, 16, 16)))
    with pretend():
        x, y = data.on_after_batch_transfer(batch(), 0)
        assert (x.dtype, x.device, y.device) == (torch.float32, GPU, GPU)
        assert y.is_floating_point() == bool(data.hp.mixup or data.hp.cutmix)
        assert gpu(model).training_step((x, y), 0).device == GPU


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_of_a_set_that_lies_there(shuffle):
    with pretend():
        data = Batches(*batch(), torch.arange(16, device=GPU))
        sampler = EpochSampler(data, 1, 0, shuffle)
        loader = LazyLoader(data, batch_size=6, sampler=sampler, collate_fn=whole_batch)
        assert [(len(x), x.device, y.device) for x, y in loader] == [
            (n, GPU, GPU) for n in (6, 6, 4)
        ]
        # As Lightning's sampler asks in a prediction, and with --overfit_batches.
        x, y = data.__getitems__([3, 1, 2])
        assert (len(x), x.device, y.device) == (3, GPU, GPU)


def test_all_splits_together_take_half_of_what_is_free(monkeypatch):
    sizes = {"train": 4, "val": 3, "test": 3}  # kB
    total = 14_000

    def free(device: Any) -> tuple[int, int]:
        return total - sum(copy.nbytes for copy in data._copies.values()), total

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    data = ImageData(Digits())
    with pretend():
        for name, kilo in sizes.items():
            x = torch.zeros(10 * kilo, 1, 10, 10, dtype=torch.uint8)
            data.splits[name] = Batches(x, torch.zeros(0, dtype=torch.int64))
        split = data.splits["train"]
        data.splits["part"] = Batches(split.x, split.y, torch.arange(5))
        there = [name for name in data.splits if data._on_gpu(data.splits[name], GPU).x.is_cuda]
    assert there == ["train", "val", "part"]


UNFUSED = {"name": "SGD", "momentum": 0.9, "foreach": True}  # torch can't pretend the fused one


def watched(model: LitModule) -> Any:
    strategy = SimpleNamespace(root_device=GPU, reduce=lambda tensor, reduce_op: tensor)
    [optimizer], _ = model.optimizers_for(Plan(100, 10))
    values = {"strategy": strategy, "optimizers": [optimizer], "world_size": 1, "global_step": 0}
    return SimpleNamespace(**values, current_epoch=0, lightning_module=model)


@pytest.mark.parametrize("name", ["AdamW", "RMSprop", "Muon", UNFUSED])
def test_the_step_of_the_optimizer_the_average_and_the_watch_over_losses(gpu, monkeypatch, name):
    read = "lit_opt.engine.callbacks.finite.nonfinite"
    monkeypatch.setattr(read, lambda tensors: set())
    model = LitModule(MLP((3, 16, 16), hidden=(32, 32)), optimizer=name, scheduler="OneCycleLR")
    ema, watch = EMA(), StopAtNonFinite()
    with pretend():
        trainer = watched(gpu(model))
        [optimizer] = trainer.optimizers
        assert optimizer.defaults.get("fused", False) in (name == "AdamW", None)
        ema._trainer = trainer
        ema.on_fit_start(trainer, model)
        watch.on_train_start(trainer, model)
        for step in range(3):
            x, y = batch()
            watch.on_train_batch_start(trainer, model, (x.float(), y), step)
            watch.on_before_backward(trainer, model, model.training_step((x.float(), y), step))
            for weight in model.parameters():
                weight.grad = torch.empty_like(weight)
            optimizer.step()
            trainer.global_step += 1
            ema.on_train_batch_end()
        assert len(watch._history) == 3
        assert {average.device for average in ema._other} == {GPU}
        with ema.showing(average=True):
            model.validation_step((x.float(), y), 0)


@pytest.mark.parametrize("now", [True, False], ids=["fused now", "unfused now"])
@pytest.mark.parametrize("before", [True, False], ids=["fused then", "unfused then"])
def test_a_restored_optimizer_has_its_state_where_its_kernel_wants_it(gpu, before, now):
    model = LitModule(MLP((3, 16, 16), hidden=()))
    saving = build_optimizer("AdamW", model, 0.1, may_fuse=before)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    saving.step()
    with pretend():
        restored = build_optimizer("AdamW", gpu(model), 0.1, may_fuse=now)
        restored.load_state_dict(saving.state_dict())
    assert [group.get("fused") for group in restored.param_groups] == [True if now else None]
    for state in restored.state.values():
        places = {key: value.device.type for key, value in state.items()}
        step = "cuda" if now else "cpu"  # the fused kernel reads it, the others' host does
        assert places == {"step": step, "exp_avg": "cuda", "exp_avg_sq": "cuda"}


def test_a_run_of_a_gpu_goes_on_and_is_scored_without_one(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        run("--name=a", "--epochs=1", "--ema=0.9", "--no_test")
    best = "runs/a/checkpoints/best.ckpt"
    with pytest.raises(RuntimeError, match="CUDA device"):
        torch.load(best, weights_only=True)
    run("predict", f"--ckpt_path={best}")
    assert run("--name=a", "--resume", "--epochs=2", "--no_test").trainer.current_epoch == 2
