"""How commands beside fit, validate, test and predict parse their words."""

import argparse
from typing import Any, NoReturn

from lit_opt.engine.base.errors import Stopped, UserError


class VerbParser(argparse.ArgumentParser):
    """Raises `UserError` for words that it doesn't know.

    Args:
        verb: The command.
        description: What it does, one or two sentences for `--help`.
    """

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(f"train.py {verb}", description=description, allow_abbrev=False)

    def print_help(self, file: Any = None) -> NoReturn:
        raise Stopped(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n`python {self.prog} --help` lists what it takes")
