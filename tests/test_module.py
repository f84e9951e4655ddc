import pytest
import torch

from lit_opt.datamodule import ImageData
from lit_opt.engine.optim.plan import Plan, plan_of
from lit_opt.models import MLP
from lit_opt.module import LitModule
from lit_opt.sources import Digits


def test_a_module_built_in_python_is_trained_and_loaded_with_its_net(quiet_trainer):
    model = LitModule(MLP((1, 8, 8)), lr=0.02, optimizer={"name": "SGD", "momentum": 0.9})
    trainer = quiet_trainer()
    trainer.fit(model, ImageData(Digits()))
    assert set(trainer.callback_metrics) == {"train/loss", "train/acc", "val/loss", "val/acc"}
    model.train_scores["acc"].correct += 5  # the stages do not share their counts
    assert model.val_scores["acc"].correct == model.test_scores["acc"].correct == 0
    trainer.save_checkpoint("model.ckpt")
    loaded = LitModule.load_from_checkpoint("model.ckpt", net=MLP((1, 8, 8)), weights_only=True)
    assert loaded.hparams["lr"] == 0.02
    assert loaded.hparams["optimizer"] == {"name": "SGD", "momentum": 0.9}
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_a_module_built_by_the_command_line_is_loaded_without_anything(run):
    done = run("--epochs", "1", "--name", "a", "--net.hidden", "[32]", "--no_test")
    path = "runs/a/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert all(key.startswith("net.") for key in checkpoint["state_dict"])
    loaded = LitModule.load_from_checkpoint(path, weights_only=True)
    assert isinstance(loaded.net, MLP)
    torch.testing.assert_close(loaded.state_dict(), done.model.cpu().state_dict(), atol=0, rtol=0)
    assert checkpoint["hyper_parameters"]["net"]["init_args"]["hidden"] == [32]
    assert checkpoint["hyper_parameters"]["optimizer"] == {"name": "AdamW"}


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/acc", "max")])
def test_plateau_watches_the_monitor_the_right_way_round(monitor, mode):
    model = LitModule(MLP((1, 8, 8)), scheduler={"name": "ReduceLROnPlateau"}, monitor=monitor)
    _, [config] = model.optimizers_for(Plan(100, 2, validate_every=3))
    assert (config["monitor"], config["frequency"]) == (monitor, 3)
    assert config["scheduler"].mode == mode


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ([], Plan(42, 2)),
        (["--accumulate_grad_batches=4"], Plan(12, 2)),
        (["--max_steps=30"], Plan(30, 2)),
        (["--steps_per_execution=5", "--check_val_every_n_epoch=2"], Plan(42, 2, 2)),
        (["--steps_per_execution=5", "--max_steps=30"], Plan(30, 2)),
    ],
)
def test_the_plan_counts_optimizer_steps(run, words, plan):
    done = run("--epochs=2", "--net.hidden=[8]", "--no_test", *words)
    assert plan_of(done.trainer) == plan
    assert done.trainer.global_step == plan.total_steps
