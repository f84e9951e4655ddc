import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torchmetrics import MeanAbsoluteError

from lit_opt.datamodule import ImageData
from lit_opt.engine.cli.run import Run
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Diabetes, Digits


def fit(model: LitModule, data: ImageData, **options) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=options.pop("max_epochs", 1),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    trainer.fit(model, data)
    return trainer


def test_scores_of_the_stages_do_not_share_their_counts():
    model = LitModule(MLP((1, 8, 8), hidden=(16,)))
    trainer = fit(model, ImageData(Digits()))
    names = {"train/loss", "train/acc", "val/loss", "val/acc"}
    assert set(trainer.callback_metrics) == names
    model.train_scores["acc"].correct += 5
    assert model.val_scores["acc"].correct == model.test_scores["acc"].correct == 0


def test_regression_by_configuration_alone():
    model = LitModule(
        MLP((10,), num_classes=1, hidden=(32,)),
        loss=nn.MSELoss(),
        metrics={"mae": MeanAbsoluteError()},
    )
    trainer = fit(model, ImageData(Diabetes()), max_epochs=10)
    assert trainer.callback_metrics["val/loss"] < 0.7
    assert set(trainer.callback_metrics) == {"train/loss", "train/mae", "val/loss", "val/mae"}


def test_predict_gives_the_nets_outputs_in_order():
    data, model = ImageData(Digits()), LitModule(MLP((1, 8, 8)))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    outputs = torch.cat(trainer.predict(model, data))
    trainer.test(model, data, verbose=False)
    images, labels = Digits().load(data.data_dir, "test")
    assert outputs.shape == (len(images), 10)
    accuracy = (outputs.argmax(1) == labels).float().mean()
    assert trainer.callback_metrics["test/acc"] == accuracy


def test_a_module_built_in_python_is_loaded_with_its_net(tmp_path):
    model = LitModule(MLP((1, 8, 8)), lr=0.02, optimizer={"name": "SGD", "momentum": 0.9})
    trainer = fit(model, ImageData(Digits()))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = LitModule.load_from_checkpoint(
        tmp_path / "model.ckpt", net=MLP((1, 8, 8)), weights_only=True
    )
    assert loaded.hparams["lr"] == 0.02
    assert loaded.hparams["optimizer"] == {"name": "SGD", "momentum": 0.9}
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_a_module_built_by_the_command_line_is_loaded_without_anything(run):
    cli: Run = run("--epochs", "1", "--name", "a", "--net.hidden", "[32]", "--no_test")
    path = "runs/a/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert all(key.startswith("net.") for key in checkpoint["state_dict"])
    loaded = LitModule.load_from_checkpoint(path, weights_only=True)
    assert isinstance(loaded.net, MLP)
    torch.testing.assert_close(loaded.state_dict(), cli.model.cpu().state_dict(), atol=0, rtol=0)
    hparams = checkpoint["hyper_parameters"]
    assert hparams["net"]["init_args"]["hidden"] == [32]
    assert hparams["optimizer"] == {"name": "AdamW"}


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/acc", "max")])
def test_plateau_watches_the_monitor_the_right_way_round(monitor, mode):
    model = LitModule(MLP((1, 8, 8)), scheduler={"name": "ReduceLROnPlateau"}, monitor=monitor)
    _, [config] = model.optimizers_for(100, 2)
    assert config["monitor"] == monitor
    assert config["scheduler"].mode == mode
