"""Commands beside fit, validate, test and predict: a table from the word to its function."""

from collections.abc import Callable
from importlib import import_module

# Each is a function of the words after the command, imported when it is asked for.
VERBS: dict[str, str] = {
    "report": "lit_opt.engine.reports.run_report:report",
}


def verb_named(word: str) -> Callable[[list[str]], None] | None:
    """The function of a command such as `compare`, or None if it is not one of these."""
    if word not in VERBS:
        return None
    module, _, name = VERBS[word].partition(":")
    function: Callable[[list[str]], None] = getattr(import_module(module), name)
    return function
