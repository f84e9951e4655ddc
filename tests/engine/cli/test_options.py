"""Short names of options, and what is known of them before torch is imported."""

import subprocess
import sys

import pytest
from conftest import ROOT
from digits_program import program

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.command_line import _run_label as config_label
from lit_opt.engine.cli.options import COMMANDS, Options, options_in_the_sources
from lit_opt.module import LitModule

OPTIONS = Options(
    ["config", "seed_everything", "trainer.accelerator", "trainer.logger", "model.lr", "model.net"]
    + ["data.batch_size", "data.logger", "trainer.max_epochs", "name", "model.name"]
)


@pytest.mark.parametrize(
    ("flag", "full"),
    [
        *[("lr", "model.lr"), ("model.lr", "model.lr"), ("net.hidden", "model.net.hidden")],
        *[("accelerator", "trainer.accelerator"), ("epochs", "trainer.max_epochs")],
        ("seed", "seed_everything"),
        ("model.net.init_args.hidden", "model.net.init_args.hidden"),
        ("data.logger", "data.logger"),
        *[("name", "name"), ("model.name", "model.name")],  # of a user's class, the latter
    ],
)
def test_full_name(flag, full):
    assert OPTIONS.full(flag) == full


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("logger", r"--data\.logger and --trainer\.logger"),
        ("acelerator", "did you mean --accelerator"),
        ("trainer.acelerator", r"did you mean --trainer\.accelerator"),
    ],
)
def test_what_is_no_option_is_told(flag, told):
    with pytest.raises(UserError, match=told):
        OPTIONS.full(flag)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_sources_name_the_parsers_options(command):
    line = CommandLine(program, [command])
    named = options_in_the_sources(command, str(program.model), str(program.data))
    assert named is not None
    assert named.names - {"no_test"} == line.options.names


class PassesOn(LitModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


def test_a_class_that_passes_arguments_on_is_left_to_the_parser():
    assert options_in_the_sources("fit", f"{__name__}.PassesOn", str(program.data)) is None


@pytest.mark.parametrize("words", [["--optimzer", "Adam"], ["trian"], ["--help"]])
def test_it_answers_without_importing_torch(words):
    code = (
        f"import sys; sys.argv = ['train.py', *{words}]\n"
        "try: exec(open('tests/digits_program.py').read())\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["--lr", "1"], None),
        (["--config", "configs/tutorial.yaml", "--lr", "1"], "tutorial"),
        (["-c", "a.yaml", "--config=b.yaml"], "b"),
        (["--config", "runs/first/config.yaml"], "first"),
    ],
)
def test_an_unnamed_run_is_called_after_its_config(words, label):
    assert config_label(words) == label
