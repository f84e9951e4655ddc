"""What `train.py` runs: it trains, and every config names options that there are."""

import pytest
from conftest import ROOT

import train
from lit_opt.engine.base.allowed_imports import allow
from lit_opt.engine.cli.chosen_classes import choose_classes
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.main import main

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_it_trains_a_batch():
    main(train.program, args=["--fast_dev_run=true"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_names_options_that_there_are(path):
    allow(train.program.packages())
    program, words = choose_classes(train.program, ["fit", f"--config={path}"])
    assert CommandLine(program, words).parse()
