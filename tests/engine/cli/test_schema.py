"""The schema of configs takes every config there is, and finds mistakes in them."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import ROOT
from digits_program import program
from jsonschema import Draft7Validator

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
    ],
    ids=str,
)
def test_mistakes_are_found(validator, mistaken):
    whole = copy.deepcopy({"max_epochs": 3, "net": "MLP"}) | mistaken
    assert [*validator.iter_errors(whole)]


def test_it_tells_defaults_and_what_options_are(capsys):
    function = verb_named("schema")
    assert function is not None
    function([], program)
    lr = json.loads(capsys.readouterr().out)["properties"]["lr"]
    assert (lr["type"], lr["default"]) == ("number", 0.001)
    assert "rate" in lr["description"].lower()
