"""A start that is refused leaves nothing; a package of one's own needs no `__init__.py`."""

from pathlib import Path
from uuid import uuid4

import lightning.pytorch as pl
import pytest
import torch
from sabotage import Run
from torch.utils.data import DataLoader, TensorDataset

from lit_opt.engine.cli.main import main

SHORT = ["--limit_train_batches=2", "--no_test"]
STOP = ["--callbacks+=EarlyStopping", "--callbacks.monitor=val/loss"]
REFUSED = {
    "--monitor nope is not measured": ["--monitor=nope", "--name=a"],
    "monitor nope is not measured": [STOP[0], "--callbacks.monitor=nope"],
    "--optimizer.no_decay 5: expected true or false": ["--optimizer.no_decay=5"],
    "--split_seed -1: expected a number from 0": ["--split_seed=-1"],
    "EarlyStopping: patience -1; expected at least 0": [*STOP, "--callbacks.patience=-1"],
    "EarlyStopping: `mode` can be min, max, got up": [*STOP, "--callbacks.mode=up"],
    "more than one stateful callback": [*STOP, *STOP],
    "--optimizer has arguments but no name": ["--optimizer={weight_decay: 0.1}"],
    "but 0.1 * 1 < 1": ["--limit_val_batches=0.1"],
    "--max_time {'seconds': -1}: expected DD:HH:MM:SS": ["--max_time={seconds: -1}"],
    "--max_time {'eons': 1}: expected DD:HH:MM:SS": ["--max_time={eons: 1}"],
    "negative dimension -1": ["--net.hidden=[-1]"],
    "--batch_size is 4294967296; expected 1 to": ["--batch_size=4294967296"],
    "the class path of a Callback; got 3": ["--callbacks=3"],
    "--model.loss: expected something else; got": ["--loss={class_path: 'torch.nn.NLLLoss '}"],
    "--seeds 2: the last seed would be above": ["--seeds=2", f"--seed={2**32 - 1}"],
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_refused_before_the_first_step_leaves_no_folder(fails, told):
    assert told in fails(*REFUSED[told], "--epochs=1", *SHORT)
    assert not Path("runs").exists()


def test_a_data_set_of_null_is_the_default(trained):
    assert (trained("--dataset=null", "--epochs=1", *SHORT) / "checkpoints/best.ckpt").is_file()


def test_a_refused_resume_leaves_what_is_there(trained, fails):
    run = trained("--epochs=1", *SHORT)
    config = (run / "config.yaml").read_bytes()
    fails("--name=a", "--resume", "--monitor=nope", "--epochs=2", *SHORT)
    assert (run / "config.yaml").read_bytes() == config
    assert (run / "checkpoints/best.ckpt").is_file()


class NoArguments(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch):
        return self.layer(batch[0]).square().mean()

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), 4)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_module_without_arguments_is_trained_and_resumed():
    main(NoArguments, args=["--epochs=1", "--name=a"])
    again = main(NoArguments, args=["--epochs=2", "--name=a", "--resume"])
    assert again.trainer.global_step == 4


class Context(NoArguments):
    def __init__(self, context: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()


class ContextData(pl.LightningDataModule):
    def __init__(self, context: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()


class NoStep(NoArguments):
    training_step = pl.LightningModule.training_step


DIFFERENT = "save different values of 'context';\ngive both the same value, or call"


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [(Context, ContextData, DIFFERENT), (NoStep, None, "No `training_step()` method defined")],
    ids=["hparams", "no step"],
)
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_what_lightning_refuses_before_the_first_step_leaves_no_folder(capsys, model, data, told):
    with pytest.raises(SystemExit) as left:
        main(model, data, args=["--name=a", "--epochs=1"])
    assert left.value.code == 2
    assert told in capsys.readouterr().err
    assert not Path("runs/a").exists()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["{0}", "{0}.inner.parts"])
def test_own_code_without_init_files_works_by_flag_config_and_resume(monkeypatch, tmp_path, place):
    """Each in a process of its own, as what is imported once stays so."""
    name = f"own_{uuid4().hex}"
    module = place.format(name)
    path = Path(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import torch\nclass Loss(torch.nn.CrossEntropyLoss): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    again, config = ["--resume", "--epochs=2", *SHORT], ["--config=runs/a/config.yaml", *SHORT]
    assert Run(f"--loss={module}.Loss", "--epochs=1", "--name=a", *SHORT).end()[::2] == (0, "")
    assert Run("--name=a", *again).end()[::2] == (0, "")
    assert f"--allow {name}" in Run(*config, "--name=b").end()[2]
    assert Run(*config, f"--allow={name}", "--name=b", "--epochs=1").end()[::2] == (0, "")
    assert Run("--name=b", *again).end()[::2] == (0, "")
