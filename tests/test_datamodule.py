import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from memory import Memory, images

from lit_opt.datamodule import ImageData
from lit_opt.engine.loading.split import split_indices
from lit_opt.sources import Diabetes, Digits

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*treespec, LeafSpec.*:FutureWarning",
    "ignore:.*isinstance.treespec, LeafSpec",
)


@pytest.fixture
def memory() -> Memory:
    return Memory(train=images(50), test=images(13, seed=1))


def rows(loader):
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


class Spy(pl.LightningModule):
    """Records the batches of every loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list] = {"train": [], "val": [], "test": [], "predict": []}

    def training_step(self, batch):
        self.seen["train"].append(batch)
        return self.weight * batch[0].mean()

    def validation_step(self, batch):
        self.seen["val"].append(batch)

    def test_step(self, batch):
        self.seen["test"].append(batch)

    def predict_step(self, batch):
        self.seen["predict"].append(batch)
        return batch[1]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 1}
    return pl.Trainer(**quiet | options)


def test_default_is_the_embedded_digits():
    dm = ImageData()
    assert (dm.in_shape, dm.num_classes, dm.class_names) == ((1, 8, 8), 10, list("0123456789"))
    dm.setup("fit")
    assert len(dm.train_dataloader().dataset) + len(dm.val_dataloader().dataset) == 1438


def test_val_is_cut_from_train_and_test_stays_untouched(memory):
    dm = ImageData(memory, val_fraction=0.2)
    for stage in ("fit", "test"):
        dm.setup(stage)
    data = dm.train_dataloader().dataset
    val = dm.val_dataloader().dataset
    expected = split_indices(memory.splits["train"][1], 0.2, 0)
    assert torch.equal(data.rows, expected[0])
    assert torch.equal(val.rows, expected[1])
    assert data.x is val.x is memory.splits["train"][0]  # no copy
    for got, want in zip(rows(dm.test_dataloader()), memory.splits["test"], strict=True):
        assert torch.equal(got, want)
    for got, want in zip(rows(dm.predict_dataloader()), memory.splits["test"], strict=True):
        assert torch.equal(got, want)


def test_split_ignores_the_training_seed_and_order_follows_it(memory, monkeypatch):
    val, train = [], []
    for seed in (1, 2):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(seed)
        dm = ImageData(memory, val_fraction=0.2)
        dm.setup("fit")
        val.append(rows(dm.val_dataloader())[0])
        train.append(rows(dm.train_dataloader())[0])
    assert torch.equal(*val)
    assert not torch.equal(*train)
    assert torch.equal(*(x.flatten(1).double().sum(1).sort().values for x in train))


def test_own_validation_split_is_used(memory):
    memory.splits["val"] = images(7, seed=2)
    dm = ImageData(memory)
    dm.setup("validate")
    assert torch.equal(rows(dm.val_dataloader())[0], memory.splits["val"][0])
    assert len(dm.train_dataloader().dataset) == 50


def test_what_isnt_stated_comes_from_the_training_set(memory):
    dm = ImageData(memory)
    assert (dm.in_shape, dm.num_classes, dm.class_names) == ((2, 4, 5), 3, ["0", "1", "2"])


def test_regression():
    dm = ImageData(Diabetes())
    assert (dm.in_shape, dm.num_classes, dm.class_names) == ((10,), 1, None)
    dm.setup("fit")
    x, y = dm.on_after_batch_transfer(rows(dm.train_dataloader()), 0)
    assert (x.dtype, x.shape[1:], y.dtype, y.shape[1:]) == (
        torch.float32,
        (10,),
        torch.float32,
        (1,),
    )
    torch.testing.assert_close(x.mean(0), torch.zeros(10), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(10), atol=1e-4, rtol=0)


def test_normalised_training_split_has_mean_0_std_1(memory):
    dm = ImageData(memory)
    dm.setup("fit")
    x, _ = dm.on_after_batch_transfer(rows(dm.train_dataloader()), 0)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_every_stage_normalises_alike(memory, stage):
    fit, other = ImageData(memory), ImageData(memory)
    fit.setup("fit")
    other.setup(stage)
    batch = memory.splits["test"]
    assert torch.equal(
        fit.on_after_batch_transfer(batch, 0)[0], other.on_after_batch_transfer(batch, 0)[0]
    )


def test_trainer_runs_every_loop(memory):
    spy, dm = Spy(), ImageData(memory, batch_size=16, eval_batch_size=4, val_fraction=0.1)
    fitter = trainer(max_epochs=2)
    fitter.fit(spy, dm)
    assert [len(x) for x, _ in spy.seen["train"]] == [16, 16, 13] * 2  # the last is kept
    fitter.test(spy, dm)
    fitter.predict(spy, dm)
    x, y = dm.on_after_batch_transfer(memory.splits["test"], 0)
    for loop in ("test", "predict"):
        assert torch.equal(torch.cat([x for x, _ in spy.seen[loop]]), x)
        assert torch.equal(torch.cat([y for _, y in spy.seen[loop]]), y)
    first, second = spy.seen["train"][:3], spy.seen["train"][3:]
    assert not torch.equal(first[0][0], second[0][0])  # reshuffled


def test_augmentation_only_in_training(memory):
    options = {"flip": True, "crop_padding": 1, "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0}
    spy, dm = Spy(), ImageData(memory, val_fraction=0.2, **options)
    trainer().fit(spy, dm)
    x, y = spy.seen["train"][0]
    assert (x.shape, x.dtype, y.shape, y.dtype) == (
        (40, 2, 4, 5),
        torch.float32,
        (40, 3),
        torch.float32,
    )
    torch.testing.assert_close(y.sum(1), torch.ones(40))
    plain = ImageData(memory, val_fraction=0.2)
    plain.setup("fit")
    x, y = plain.on_after_batch_transfer(rows(plain.val_dataloader()), 0)
    assert torch.equal(spy.seen["val"][-1][0], x)
    assert torch.equal(spy.seen["val"][-1][1], y)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)]
)
def test_batches_have_the_precision_of_the_net(memory, precision, dtype):
    spy = Spy()
    trainer(precision=precision).fit(spy, ImageData(memory))
    assert spy.seen["train"][0][0].dtype == spy.seen["val"][0][0].dtype == dtype


def test_without_validation(memory):
    spy = Spy()
    with pytest.warns(UserWarning, match="Total length of `list` across ranks is zero"):
        trainer().fit(spy, ImageData(memory, val_fraction=0.0))
    assert sum(len(x) for x, _ in spy.seen["train"]) == 50
    assert spy.seen["val"] == []


def test_overfit_batches_repeats_the_same_samples(memory):
    spy = Spy()
    with pytest.warns(UserWarning, match="requested to overfit"):
        trainer(overfit_batches=1, max_epochs=2).fit(spy, ImageData(memory))
    (first, _), (second, _) = spy.seen["train"]
    assert torch.equal(first, second)


def test_shares_of_ranks(memory):
    class Ranked:
        world_size = 2
        strategy = type("Strategy", (), {"root_device": torch.device("cpu")})

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    sizes = []
    for rank in (0, 1):
        dm = ImageData(memory, val_fraction=0.1)
        dm.trainer = Ranked(rank)
        dm.setup("fit")
        dm.setup("test")
        sizes.append((len(dm.train_dataloader().sampler), len(dm.test_dataloader().sampler)))
    assert sizes == [(22, 7), (22, 6)]


def test_batch_size_may_change_between_epochs(memory):
    dm = ImageData(memory, batch_size=10, val_fraction=0.0)
    dm.setup("fit")
    assert len(dm.train_dataloader()) == 5
    dm.batch_size = 25
    assert len(dm.train_dataloader()) == 2


def test_files_are_fetched_once_and_read_once(memory):
    calls = []
    memory.download = lambda data_dir: calls.append("download")
    load = memory.load
    memory.load = lambda data_dir, split: calls.append(split) or load(data_dir, split)
    dm = ImageData(memory)
    assert dm.num_classes == 3
    dm.prepare_data()
    for stage in ("fit", "validate", "test", "predict"):
        dm.setup(stage)
    assert calls == ["download", "train", "val", "test"]


def test_hparams_are_plain_values(memory):
    dm = ImageData(memory, batch_size=7)
    assert dm.hparams["batch_size"] == 7
    assert "dataset" not in dm.hparams
    assert all(isinstance(value, str | int | float | bool) for value in dm.hparams.values())


def test_under_the_cli(tmp_path, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    words = "--data.dataset ImageFolder --data.dataset.image_size 64"
    monkeypatch.setattr("sys.argv", ["train.py", *words.split()])
    cli = LightningCLI(
        Spy,
        ImageData,
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults={"logger": False},
    )
    assert cli.datamodule.in_shape == (3, 64, 64)
    dataset = cli.datamodule.hparams["dataset"]
    assert dataset["class_path"].endswith(".ImageFolder")
    assert dict(dataset["init_args"]) == {"image_size": 64, "channels": 3, "cache": True}
    torch.save(dict(cli.datamodule.hparams), tmp_path / "hparams.pt")
    torch.load(tmp_path / "hparams.pt", weights_only=True)


def test_splits_share_one_copy_on_the_gpu_if_it_fits(monkeypatch):
    data = ImageData(Digits())
    data.prepare_data()
    data.setup("fit")
    device = torch.device("meta")  # stands for a GPU
    size = data.splits["train"].x.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size - 2, 0))
    assert data._on_gpu(data.splits["train"], device) is data.splits["train"]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size, 0))
    train, val = (data._on_gpu(data.splits[split], device) for split in ("train", "val"))
    assert train.x.device == train.y.device == train.rows.device == device
    assert train.x is val.x
    assert (len(train), len(val)) == (1294, 144)
