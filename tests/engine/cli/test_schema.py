"""The schema of configs takes every config there is, and finds mistakes in them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from digits_program import program
from jsonschema import Draft7Validator

from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.schema import schema_of
from lit_opt.engine.cli.verbs import verb_named

CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), *sorted(ROOT.glob("examples/*/*.yaml"))]
Mistake = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = schema_of(program)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_config_is_valid(validator, path):
    assert [
        error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))
    ] == []


def test_the_config_of_a_run_is_valid(validator, trained):
    config = yaml.safe_load((trained("--epochs=1") / "config.yaml").read_text())
    assert [error.message for error in validator.iter_errors(config)] == []


@pytest.mark.parametrize(
    "mistaken",
    [
        {"learning_rate": 0.1},
        {"trainer": {"max_epoch": 3}},
        {"data": {"batchsize": 3}},
        {"max_epochs": "three"},
        {"trainer": {"max_epochs": 1.5}},
        {"model": {"lr": "fast"}},
        {"flip": 3},
        {"seed": [1]},
        {"trainer.max_epoch": 3},
        {"optimiser.momentum": 0.9},
        {"precision": "fp8"},
        {"accelerator": "gpuu"},
        {"compile": "fastest"},
        {"monitor_mode": "big"},
        {"ema": "often"},
        {"resume": "maybe"},
        {"optimizer": "AdamWW"},
        {"model": {"scheduler": {"name": "OneCircleLR"}}},
        {"data": "my.Data", "trainer": {"max_epoch": 3}},
    ],
    ids=str,
)
def test_mistakes_are_found(validator, mistaken):
    whole = copy.deepcopy({"max_epochs": 3, "net": "MLP"}) | mistaken
    assert [*validator.iter_errors(whole)]


@pytest.mark.parametrize(
    "config",
    [
        {"logger": False},
        {"optimizer": "a_dam_w", "scheduler": "one_cycle"},
        {"optimizer": {"name": "sgd", "momentum": 0.9}, "optimizer.nesterov": True},
        {"scheduler": "none", "precision": "auto", "name": None},
        {"optimizer": "torch.optim.SGD", "callbacks+": "EMA"},
        {"model": {"class_path": "examples.stream.stream.Student"}, "precision": 64},
        {"accelerator": "gpu", "compile": True, "ema": 0.9, "save_every": "10m"},
        {"trainer.max_epochs": 3, "model.net.hidden": [8], "metrics+": "f1"},
    ],
    ids=str,
)
def test_what_the_parser_takes_is_valid(validator, config):
    Path("config.yaml").write_text(yaml.safe_dump(config))
    CommandLine(program, ["fit", "--config=config.yaml"]).parse()
    assert [error.message for error in validator.iter_errors(config)] == []


def test_options_of_one_s_own_classes_are_not_known(validator):
    assert validator.is_valid({"model": "my_module.MyModule", "width": 8})
    assert not validator.is_valid({"width": 8})


def test_it_tells_defaults_and_what_options_are(capsys):
    function = verb_named("schema")
    assert function is not None
    function([], program)
    lr = json.loads(capsys.readouterr().out)["properties"]["lr"]
    assert (lr["type"], lr["default"]) == ("number", 0.001)
    assert "rate" in lr["description"].lower()
