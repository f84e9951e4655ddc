"""All forms of an option give the same configuration."""

from pathlib import Path

import pytest
import yaml

from lit_opt.engine.cli.arguments import dump, expand_class, expand_spec
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.errors import UserError
from train import program

OPTIONS = CommandLine(program, []).options


@pytest.mark.parametrize(
    ("option", "name", "path"),
    [
        ("model.loss", "nll", "torch.nn.NLLLoss"),
        ("model.loss", "NLLLoss", "torch.nn.NLLLoss"),
        ("model.loss", "mse", "torch.nn.MSELoss"),
        ("model.loss", "cross_entropy", "torch.nn.CrossEntropyLoss"),
        ("model.loss", "lit_opt.losses.my_cross_entropy", "lit_opt.losses.my_cross_entropy"),
        ("model.net", "resnet9", "lit_opt.models.ResNet9"),
        ("data.dataset", "fashion_mnist", "lit_opt.sources.FashionMNIST"),
        ("trainer.callbacks", "EarlyStopping", "lightning.pytorch.callbacks.EarlyStopping"),
        ("trainer.callbacks", ["half_when_stuck"], None),
    ],
)
def test_class_names(option, name, path):
    if path is None:
        with pytest.raises(UserError, match="HalveWhenStuck"):
            expand_class(option, name, OPTIONS)
    else:
        assert expand_class(option, name, OPTIONS) == path
        assert expand_class(option, {"class_path": name}, OPTIONS)["class_path"] == path


def test_specs_of_lightnings_form_are_understood():
    lightning = {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}
    assert expand_spec(lightning) == {"name": "torch.optim.SGD", "momentum": 0.9}
    assert expand_spec("SGD") == {"name": "SGD"}


@pytest.mark.parametrize("value", [0.1, 1e-5, 1e30, [0.9, 0.95], None, True, "1e-5", {"a": "null"}])
def test_dump_is_read_back_as_the_same_value(value):
    assert yaml.safe_load(dump(value)) == value


FORMS = {
    "short": ["--lr", "0.5", "--epochs", "3", "--batch_size", "32", "--accelerator", "cpu"],
    "equals": ["--lr=0.5", "--epochs=3", "--batch_size=32", "--accelerator=cpu"],
    "full": [
        *("--model.lr", "0.5", "--trainer.max_epochs", "3"),
        *("--data.batch_size", "32", "--trainer.accelerator", "cpu"),
    ],
    "command": ["fit", "--test", "--lr", "0.5", "--epochs=3", "--batch_size=32"]
    + ["--trainer.accelerator=cpu"],
}
GROUPED = """
model: {lr: 0.5}
trainer: {max_epochs: 3, accelerator: cpu}
data: {batch_size: 32}
"""
FLAT = "lr: 0.5\nepochs: 3\nbatch_size: 32\naccelerator: cpu\n"


def test_all_forms_of_simple_options_give_the_same_configuration(parse):
    Path("grouped.yaml").write_text(GROUPED)
    Path("flat.yaml").write_text(FLAT)
    Path("a.yaml").write_text("lr: 0.5\nepochs: 9\n")
    Path("b.yaml").write_text("epochs: 3\nbatch_size: 32\naccelerator: cpu\n")
    forms = {
        **FORMS,
        "grouped": ["--config", "grouped.yaml"],
        "flat": ["--config=flat.yaml"],
        "stacked": ["--config", "a.yaml", "-c", "b.yaml"],
        "flags before a config": ["--lr", "0.5", "--config", "b.yaml"],
    }
    parsed = {name: parse(*words) for name, words in forms.items()}
    assert parsed["short"]["model"]["lr"] == 0.5
    assert parsed["short"]["trainer"]["max_epochs"] == 3
    for name, config in parsed.items():
        assert config == parsed["short"], name


def test_all_forms_of_nested_options_give_the_same_configuration(parse):
    Path("spec.yaml").write_text(
        "optimizer: {name: SGD, momentum: 0.9}\nnet: {class_path: MLP, init_args: {hidden: [8]}}\n"
        "loss: {class_path: nll, init_args: {reduction: sum}}\n"
    )
    Path("lightning.yaml").write_text(
        "model:\n  optimizer: {class_path: SGD, init_args: {momentum: 0.9}}\n"
        "  net: {class_path: lit_opt.models.MLP, init_args: {hidden: [8]}}\n"
        "  loss: {class_path: torch.nn.NLLLoss, init_args: {reduction: sum}}\n"
    )
    forms = [
        ["--optimizer", "SGD", "--optimizer.momentum", "0.9", "--net", "MLP"]
        + ["--net.hidden", "[8]", "--loss", "nll", "--loss.reduction", "sum"],
        ["--optimizer.momentum=0.9", "--optimizer=SGD", "--net.hidden=[8]"]
        + ["--loss.reduction=sum", "--loss=NLLLoss"],
        ["--model.optimizer", '{"name": "SGD", "momentum": 0.9}', "--model.net.init_args.hidden"]
        + ["[8]", "--model.loss", "torch.nn.NLLLoss", "--model.loss.reduction", "sum"],
        ["--config", "spec.yaml"],
        ["--config", "lightning.yaml"],
    ]
    parsed = [parse(*words) for words in forms]
    assert parsed[0]["model"]["optimizer"] == {"name": "SGD", "momentum": 0.9}
    assert parsed[0]["model"]["loss"]["class_path"] == "torch.nn.NLLLoss"
    for config in parsed[1:]:
        assert config == parsed[0]


def test_appended_callbacks_are_kept(parse):
    Path("a.yaml").write_text(
        "trainer:\n  callbacks:\n  - {class_path: EarlyStopping, init_args: {monitor: val/loss}}\n"
    )
    Path("b.yaml").write_text("trainer:\n  callbacks+:\n  - HalveWhenStuck\n")
    config = parse("-c", "a.yaml", "-c", "b.yaml", "--callbacks+=DeviceStatsMonitor")
    names = [c["class_path"].rpartition(".")[2] for c in config["trainer"]["callbacks"]]
    assert names == ["EarlyStopping", "HalveWhenStuck", "DeviceStatsMonitor"]


@pytest.mark.parametrize("kind", ["optimizer", "scheduler"])
def test_switching_drops_the_arguments_of_the_old_one(parse, kind):
    name, other = {"optimizer": ("SGD", "Adam"), "scheduler": ("StepLR", "ExponentialLR")}[kind]
    argument = {"optimizer": "weight_decay", "scheduler": "gamma"}[kind]
    Path("old.yaml").write_text(f"{kind}: {{name: {name}, {argument}: 0.5}}\n")
    Path("new.yaml").write_text(f"{kind}: {other}\n")
    for words in (["--config", "new.yaml"], [f"--{kind}", other], [f"--model.{kind}={other}"]):
        config = parse("--config", "old.yaml", *words)
        assert config["model"][kind] == {"name": other}
    kept = parse("--config", "old.yaml", f"--{kind}.{argument}", "0.25")
    assert kept["model"][kind] == {"name": name, argument: 0.25}
