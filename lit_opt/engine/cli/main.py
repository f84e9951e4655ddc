"""`main`, what `train.py` runs: help, version, one command, the exit status."""

import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from lit_opt import __version__
from lit_opt.engine.base.allowed_imports import OWN, allow, packages_in_flags, split_flag
from lit_opt.engine.base.terminal import long_step
from lit_opt.engine.cli.chosen_classes import choose_classes
from lit_opt.engine.cli.messages import leave
from lit_opt.engine.cli.options import COMMANDS, check_spelling
from lit_opt.engine.cli.overview import OVERVIEW
from lit_opt.engine.cli.program import Program
from lit_opt.engine.cli.seeds import run_seeds, split_seeds
from lit_opt.engine.cli.streams import unfailing_streams
from lit_opt.engine.cli.verbs import VERBS, VERBS_OF_PROGRAM, verb_named

if TYPE_CHECKING:
    from lit_opt.engine.cli.run import Run


def main(
    program: Program | type, data: type | None = None, args: list[str] | None = None
) -> "Run | None":
    """Runs one command line; returns its trainer, model, data and scores.

    Args:
        program: What to run, or your LightningModule alone: `main(MyModule, MyData)`.
        data: Then your LightningDataModule, if the module doesn't bring the loaders.
        args: The words after `train.py`; those of the process if None.

    Raises:
        SystemExit: 2 for usage and data, 1 for a run that failed, 143 and 130 for one that was
            stopped by SIGTERM or Ctrl-C; the message is on stderr.
    """
    if not isinstance(program, Program):
        program = Program(program, data)
    if os.getpid() == 1:  # of a container: the kernel drops its SIGTERM where nobody listens
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    with unfailing_streams():
        return _main(program, list(sys.argv[1:] if args is None else args))


def _main(program: Program, words: list[str]) -> "Run | None":
    debug = "--debug" in words
    words = command_before_help([word for word in words if word != "--debug"])
    try:
        if words and (verb := verb_named(words[0])):
            verb(words[1:], *([program] if words[0] in VERBS_OF_PROGRAM else []))
            return None
        words, topic = split_help(words)
        if topic == "":
            print(OVERVIEW + _where_classes_are_told(words))
        elif "--version" in words:
            versions = f"lightning {version('lightning')}, torch {version('torch')}"
            print(f"{OWN.replace('_', '-')} {__version__}, {versions}")
        else:
            return _run(program, words, topic)
    except BaseException as error:
        leave(error, debug)
    return None


def command_before_help(words: list[str]) -> list[str]:
    """`--help new` as `new --help`."""
    commands = {*COMMANDS, *VERBS, *VERBS_OF_PROGRAM}
    turned = words[:1] in (["--help"], ["-h"]) and words[1:2] and words[1] in commands
    return [words[1], words[0], *words[2:]] if turned else words


def _where_classes_are_told(words: list[str]) -> str:
    """A last line of the overview, which has no options of classes that a flag names."""
    flags = {word.partition("=")[0] for word in words}
    groups = [group for group in ("model", "data") if f"--{group}" in flags]
    topics = " and ".join(f"--help {group}" for group in groups)
    return f"\n\nwhat the named classes take: the same with {topics}" if groups else ""


def split_help(words: list[str]) -> tuple[list[str], str | None]:
    """The words before `--help`, and the topic after it: "" for none; None without `--help`."""
    place = next((place for place, word in enumerate(words) if word in ("--help", "-h")), None)
    if place is None:
        return words, None
    return words[:place], " ".join(words[place + 1 :]).lstrip("-")


def _run(program: Program, words: list[str], topic: str | None) -> "Run | None":
    """What is heavy to import comes after the command line has been found to be spelt right."""
    named, words = split_flag(words, "--allow")
    seeds, words = split_seeds(words)
    allow([*program.packages(), *named, *packages_in_flags([*words, topic or ""])])
    with long_step("importing"):
        program, words = choose_classes(program, words)
        if not program.chosen:
            check_spelling(words, program.model, program.data)
        from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

        quiet_warnings()
        from lit_opt.engine.cli.run import run

        quiet_loggers()
    if topic:
        from lit_opt.engine.cli.command_line import CommandLine
        from lit_opt.engine.cli.help_topics import help_of

        print(help_of(CommandLine(program, words), topic))
        return None
    return run_seeds(program, words, seeds) if seeds else run(program, words)
