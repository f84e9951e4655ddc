"""All forms of an option give the same configuration."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.class_paths import find_class
from lit_opt.engine.cli.option_values import dump


def test_classes_go_by_their_names_in_any_case(parse):
    config = parse("--loss=cross_entropy", "--net=resnet9", "--dataset=fashion_mnist")
    paths = [
        (config["model"]["loss"], "torch.nn.CrossEntropyLoss"),
        (config["model"]["net"], "lit_opt.models.ResNet9"),
        (config["data"]["dataset"], "lit_opt.sources.FashionMNIST"),
        (parse("--dataset=Diabetes", "--loss=mse")["model"]["loss"], "torch.nn.MSELoss"),
    ]
    for value, path in paths:
        assert value["class_path"] == path
    homes = ["torch.nn", "lit_opt.losses"]
    mine = find_class("model.loss", "MyCrossEntropy", homes)
    assert mine == "lit_opt.losses.my_cross_entropy"


@pytest.mark.parametrize("value", [0.1, 1e-5, 1e30, [0.9, 0.95], None, True, "1e-5", {"a": "null"}])
def test_dump_is_read_back_as_the_same_value(value):
    assert yaml.safe_load(dump(value)) == value


def test_all_forms_of_simple_options_give_the_same_configuration(parse):
    Path("grouped.yaml").write_text(
        "model: {lr: 0.5}\ntrainer: {max_epochs: 3, accelerator: cpu}\ndata: {batch_size: 32}\n"
    )
    Path("a.yaml").write_text("lr: 0.5\nepochs: 9\n")
    Path("b.yaml").write_text("epochs: 3\nbatch_size: 32\naccelerator: cpu\n")
    Path("flat.yaml").write_text("lr: 0.5\n" + Path("b.yaml").read_text())
    forms = [
        "--lr 0.5 --epochs 3 --batch_size 32 --accelerator cpu",
        "--lr=0.5 --epochs=3 --batch_size=32 --accelerator=cpu",
        "--model.lr 0.5 --trainer.max_epochs 3 --data.batch_size 32 --trainer.accelerator cpu",
        "fit --test --lr 0.5 --epochs=3 --batch_size=32 --trainer.accelerator=cpu",
        "--config grouped.yaml",
        "--config=flat.yaml",
        "--config a.yaml -c b.yaml",
        "--lr 0.5 --config b.yaml",
    ]
    assert parse("--flip", "--detect_anomaly", "--epochs=3", "--normalize") == parse(
        *["--flip=true", "--detect_anomaly=true", "--epochs=3", "--normalize=true"]
    )
    first, *others = (parse(*form.split()) for form in forms)
    assert (first["model"]["lr"], first["trainer"]["max_epochs"]) == (0.5, 3)
    assert (first["data"]["batch_size"], first["trainer"]["accelerator"]) == (32, "cpu")
    for form, config in zip(forms[1:], others, strict=True):
        assert config == first, form


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
        "--optimizer SGD --optimizer.momentum 0.9 --net MLP --net.hidden [8] --loss nll "
        "--loss.reduction sum",
        "--optimizer.momentum=0.9 --optimizer=SGD --net.hidden=[8] --loss.reduction=sum "
        "--loss=NLLLoss",
        "--model.optimizer '{name: SGD, momentum: 0.9}' --model.net.init_args.hidden [8] "
        "--model.loss torch.nn.NLLLoss --model.loss.reduction sum",
        "--config spec.yaml",
        "--config lightning.yaml",
    ]
    first, *others = (parse(*shlex.split(form)) for form in forms)
    assert first["model"]["optimizer"] == {"name": "SGD", "momentum": 0.9}
    assert first["model"]["loss"]["class_path"] == "torch.nn.NLLLoss"
    for form, config in zip(forms[1:], others, strict=True):
        assert config == first, form


def test_arguments_without_a_name_are_added_to_what_is_there(parse):
    """As `--optimizer.momentum 0.9` does; one that is named anew drops them."""
    Path("sgd.yaml").write_text("optimizer: SGD\n")
    Path("more.yaml").write_text("optimizer: {momentum: 0.9, nesterov: true}\n")
    added = parse("-c", "sgd.yaml", "-c", "more.yaml")["model"]["optimizer"]
    assert added == {"name": "SGD", "momentum": 0.9, "nesterov": True}
    assert parse("-c", "more.yaml", "-c", "sgd.yaml")["model"]["optimizer"] == {"name": "SGD"}
    assert parse("-c", "more.yaml", "--optimizer=Adam")["model"]["optimizer"] == {"name": "Adam"}


def test_appended_callbacks_are_kept_and_arguments_go_to_the_one_before_them(parse):
    Path("a.yaml").write_text(
        "trainer:\n  callbacks:\n  - {class_path: EarlyStopping, init_args: {monitor: val/loss}}\n"
    )
    Path("b.yaml").write_text("trainer:\n  callbacks+:\n  - HalveWhenStuck\n")
    words = ["--callbacks+=DeviceStatsMonitor", "--callbacks.cpu_stats=true", "--callbacks+=Timer"]
    callbacks = parse("-c", "a.yaml", "-c", "b.yaml", *words)["trainer"]["callbacks"]
    names = [c["class_path"].rpartition(".")[2] for c in callbacks]
    assert names == ["EarlyStopping", "HalveWhenStuck", "DeviceStatsMonitor", "Timer"]
    assert callbacks[2]["init_args"]["cpu_stats"] is True


@pytest.mark.parametrize(
    "words",
    [
        ["--callbacks=EarlyStopping", "--callbacks.monitor=val/loss"],
        ["--callbacks={class_path: EarlyStopping, init_args: {monitor: val/loss}}"],
        ["-c", "one.yaml"],
    ],
)
def test_one_callback_alone_is_a_list_of_one(parse, words):
    Path("one.yaml").write_text(
        "callbacks: {class_path: EarlyStopping, init_args: {monitor: val/loss}}\n"
    )
    callbacks = parse(*words)["trainer"]["callbacks"]
    assert [callback["init_args"]["monitor"] for callback in callbacks] == ["val/loss"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr: 1\nflip: true\nlr: 2\n", "the key 'lr' (line 3) twice"),
        ("net: {class_path: MLP, init_args: {hidden: [8], hidden: [9]}}\n", "'hidden' (line 1)"),
        ("yes: 1\n", "key True is no name"),
        ("3: 1\n", "key 3 is no name"),
        ("data: 3\n", "key data is 3; expected the options of data"),
        ("trainer: [1]\n", "key trainer is [1]"),
    ],
)
def test_keys_that_can_not_be_meant_are_told(parse, text, told):
    Path("a.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(told)):
        parse("-c", "a.yaml")


def test_groups_and_arguments_may_be_empty_and_a_merged_key_may_be_given_anew(parse):
    Path("a.yaml").write_text(
        "model:\ntrainer:\noptimizer: {class_path: torch.optim.SGD, init_args: }\n"
        "scheduler: {<<: {name: StepLR, step_size: 3}, step_size: 4}\n"
    )
    model = parse("-c", "a.yaml")["model"]
    assert model["optimizer"] == {"name": "torch.optim.SGD"}
    assert model["scheduler"] == {"name": "StepLR", "step_size": 4}


@pytest.mark.parametrize("words", ["--metrics=[3]", "--metrics={a: 3}", "--metrics.a=3"])
def test_a_metric_that_is_no_name_is_told(parse, words):
    with pytest.raises(UserError, match=r"--metrics(\.a)? is 3; expected a name"):
        parse(words)


def test_all_forms_of_metrics_give_the_same_configuration(parse):
    Path("whole.yaml").write_text("metrics: [acc, {name: auroc, average: weighted}]\n")
    Path("added.yaml").write_text("model:\n  metrics+: {auroc: {average: macro}}\n")
    forms = [
        "--metrics '[acc, {name: auroc, average: weighted}]'",
        "--metrics '{acc: null, auroc: {average: weighted}}'",
        "--metrics acc auroc --metrics.auroc.average weighted",
        "--metrics.auroc.average weighted --metrics+=auroc",
        "--metrics+=auroc --metrics.auroc.average=weighted",
        "--metrics.auroc '{class_path: auroc, init_args: {average: weighted}}'",
        "-c whole.yaml",
        "-c added.yaml --metrics.auroc.average=weighted",
    ]
    auroc = {"name": "torchmetrics.classification.MulticlassAUROC"}
    auroc |= {"average": "weighted", "num_classes": 10}
    for form in forms:
        metrics = parse(*shlex.split(form))["model"]["metrics"]
        assert metrics["auroc"] == auroc, form
        assert list(metrics) == ["acc", "auroc"], form


@pytest.mark.parametrize(
    ("kind", "name", "argument", "other"),
    [
        ("optimizer", "SGD", "weight_decay", "Adam"),
        ("scheduler", "StepLR", "gamma", "ExponentialLR"),
    ],
)
def test_switching_drops_the_arguments_of_the_old_one(parse, kind, name, argument, other):
    Path("old.yaml").write_text(f"{kind}: {{name: {name}, {argument}: 0.5}}\n")
    Path("new.yaml").write_text(f"{kind}: {other}\n")
    for word in ("--config=new.yaml", f"--{kind}={other}", f"--model.{kind}={other}"):
        assert parse("--config=old.yaml", word)["model"][kind] == {"name": other}
    kept = parse("--config=old.yaml", f"--{kind}.{argument}=0.25")
    assert kept["model"][kind] == {"name": name, argument: 0.25}
