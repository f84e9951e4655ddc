from collections import defaultdict
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from memory import Memory, images

from lit_opt.datamodule import ImageData
from lit_opt.engine.loading.split import split_indices
from lit_opt.sources import Diabetes, Digits


@pytest.fixture
def memory() -> Memory:
    return Memory(train=images(50), test=images(13, seed=1))


def prepared(stage, *sources, **options) -> ImageData:
    dm = ImageData(*sources, **options)
    dm.setup(stage)
    return dm


def rows(loader):
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


def same(a, b) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


class Spy(pl.LightningModule):
    """Records the batches of every loop by the name of its stage."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list] = defaultdict(list)

    def step(self, batch):
        self.seen[self.trainer.state.stage.value].append(batch)
        return self.weight * batch[0].mean()

    training_step = validation_step = test_step = predict_step = step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fit(quiet_trainer):
    """The batches that the loops of a fit see."""

    def fit(dm, **options):
        spy = Spy()
        quiet_trainer(**options).fit(spy, dm)
        return spy.seen

    return fit


@pytest.mark.parametrize(
    ("sources", "known"),
    [
        ([], ((1, 8, 8), 10, list("0123456789"))),
        ([Memory(train=images(50))], ((2, 4, 5), 3, ["0", "1", "2"])),
        ([Diabetes()], ((10,), 1, None)),
    ],
    ids=["default: digits", "images", "table"],
)
def test_what_a_source_doesnt_state_comes_from_its_training_set(sources, known):
    dm = ImageData(*sources)
    assert (dm.in_shape, dm.num_classes, dm.class_names) == known


def test_val_is_cut_from_train_and_test_stays_untouched(memory):
    dm = prepared("fit", memory, val_fraction=0.2)
    dm.setup("test")
    data, val = dm.train_dataloader().dataset, dm.val_dataloader().dataset
    assert same((data.rows, val.rows), split_indices(memory.splits["train"][1], 0.2, 0))
    assert data.x is val.x is memory.splits["train"][0]  # no copy
    for loader in (dm.test_dataloader(), dm.predict_dataloader()):
        assert same(rows(loader), memory.splits["test"])


def test_split_ignores_the_training_seed_and_order_follows_it(memory, monkeypatch):
    val, train = [], []
    for seed in (1, 2):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(seed)
        dm = prepared("fit", memory, val_fraction=0.2)
        val.append(rows(dm.val_dataloader())[0])
        train.append(rows(dm.train_dataloader())[0])
    assert torch.equal(*val)
    assert not torch.equal(*train)
    assert torch.equal(*(x.flatten(1).double().sum(1).sort().values for x in train))


@pytest.mark.parametrize("source", [Diabetes(), Memory(train=images(50))], ids=["table", "images"])
def test_normalised_training_split_has_mean_0_std_1(source):
    dm = prepared("fit", source)
    x, y = dm.on_after_batch_transfer(rows(dm.train_dataloader()), 0)
    assert x.dtype == torch.float32
    assert (y.dtype, y.ndim) == ((torch.float32, 2) if x.ndim == 2 else (torch.int64, 1))
    std, mean = torch.std_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
    assert mean.abs().max() < 1e-4
    assert (std - 1).abs().max() < 1e-4


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_every_stage_normalises_alike(memory, stage):
    fitted, other = prepared("fit", memory), prepared(stage, memory)
    test = memory.splits["test"]
    assert same(fitted.on_after_batch_transfer(test, 0), other.on_after_batch_transfer(test, 0))


def test_trainer_runs_every_loop(memory, quiet_trainer):
    spy, dm = Spy(), ImageData(memory, batch_size=16, eval_batch_size=4, val_fraction=0.1)
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(spy, dm)
    assert [len(x) for x, _ in spy.seen["train"]] == [16, 16, 13] * 2  # the last is kept
    trainer.test(spy, dm)
    trainer.predict(spy, dm)
    expected = dm.on_after_batch_transfer(memory.splits["test"], 0)
    assert same(rows(spy.seen["test"]), expected)
    assert same(rows(spy.seen["predict"]), expected)
    assert not torch.equal(spy.seen["train"][0][0], spy.seen["train"][3][0])  # reshuffled


def test_augmentation_only_in_training(memory, fit):
    options = {"flip": True, "crop_padding": 1, "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0}
    seen = fit(ImageData(memory, val_fraction=0.2, **options))
    x, y = seen["train"][0]
    assert (x.shape, x.dtype) == ((40, 2, 4, 5), torch.float32)
    assert (y.shape, y.dtype) == ((40, 3), torch.float32)
    torch.testing.assert_close(y.sum(1), torch.ones(40))
    unaugmented = prepared("fit", memory, val_fraction=0.2)
    val = rows(unaugmented.val_dataloader())
    assert same(seen["validate"][-1], unaugmented.on_after_batch_transfer(val, 0))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)]
)
def test_batches_have_the_precision_of_the_net(memory, fit, precision, dtype):
    seen = fit(ImageData(memory), precision=precision)
    assert seen["train"][0][0].dtype == seen["validate"][0][0].dtype == dtype


def test_overfit_batches_repeats_the_same_samples(memory, fit):
    with pytest.warns(UserWarning, match="requested to overfit"):
        (first, _), (second, _) = fit(ImageData(memory), overfit_batches=1, max_epochs=2)["train"]
    assert torch.equal(first, second)


def test_shares_of_ranks(memory):
    dm = prepared("test", memory, val_fraction=0.1)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    for rank, sizes in enumerate([(22, 7), (22, 6)]):
        dm.trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy)
        loaders = dm.train_dataloader(), dm.test_dataloader()
        assert tuple(len(loader.sampler) for loader in loaders) == sizes


def test_files_are_fetched_once_and_read_once(memory):
    calls = []
    memory.download = lambda data_dir: calls.append("download")
    load = memory.load
    memory.load = lambda data_dir, split: calls.append(split) or load(data_dir, split)
    peeked, dm = ImageData(memory), ImageData(memory)
    assert peeked.num_classes == 3
    dm.share(peeked)
    for stage in ("fit", "validate", "test", "predict"):
        dm.setup(stage)
    assert calls == ["download", "train", "val", "test"]
    assert dm.about() == "Memory, 45 training and 5 validation samples"


def test_under_the_cli(tmp_path, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    words = "--data.dataset ImageFolder --data.dataset.image_size 64"
    monkeypatch.setattr("sys.argv", ["train.py", *words.split()])
    options = {"run": False, "save_config_callback": None, "trainer_defaults": {"logger": False}}
    cli = LightningCLI(Spy, ImageData, seed_everything_default=False, **options)
    assert cli.datamodule.in_shape == (3, 64, 64)
    dataset = cli.datamodule.hparams["dataset"]
    assert dataset["class_path"].endswith(".ImageFolder")
    given = {"image_size": 64, "channels": 3, "cache": True}
    assert dict(dataset["init_args"]) == {**given, "background": "white", "skip_broken": False}
    torch.save(dict(cli.datamodule.hparams), tmp_path / "hparams.pt")
    torch.load(tmp_path / "hparams.pt", weights_only=True)


def test_splits_share_one_copy_on_the_gpu_if_it_fits(monkeypatch):
    data = prepared("fit", Digits())
    device = torch.device("meta")  # stands for a GPU
    size = data.splits["train"].x.nbytes + data.splits["train"].y.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size - 2, 0))
    assert data._on_gpu(data.splits["train"], device) is data.splits["train"]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size, 0))
    train, val = (data._on_gpu(split, device) for split in data.splits.values())
    assert train.x.device == train.y.device == train.rows.device == device
    assert train.x is val.x
    assert (len(train), len(val)) == (1294, 144)
