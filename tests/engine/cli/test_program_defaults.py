"""What a `train.py` may give as defaults."""

from dataclasses import replace

import pytest

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.named_objects import check_named_objects
from train import program


def test_an_option_of_no_class_may_be_a_default():
    line = CommandLine(
        replace(program, defaults={**program.defaults, "save_every": 500, "lr": 0.5}), ["fit"]
    )
    config = line.parse_without_layers()
    assert (config.save_every, config.model.lr) == (500, 0.5)


@pytest.mark.parametrize(("home", "taken"), [("lit_opt.nets", True), ("lit_opt.engine.x", False)])
def test_functions_of_the_own_zone_are_built(home, taken):
    def build() -> None: ...

    build.__module__ = home
    if taken:
        check_named_objects({"net": build})
    else:
        with pytest.raises(UserError, match="is not built"):
            check_named_objects({"net": build})
