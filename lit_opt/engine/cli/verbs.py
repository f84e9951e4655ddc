"""Commands beside fit, validate, test and predict: a table from the word to its function."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

# Each is a function of the words after the command, imported when it is asked for.
VERBS = {
    "compare": "lit_opt.engine.reports.compare:compare",
    "report": "lit_opt.engine.reports.run_report:report",
    "new": "lit_opt.engine.project.new:new",
    "update": "lit_opt.engine.project.update:update",
}


def verb_named(word: str) -> Callable[[list[str]], None] | None:
    """The function of a command such as `compare`, or None if it is not one of these."""
    if word not in VERBS:
        return None
    module, _, name = VERBS[word].partition(":")
    if find_spec(module) is None:  # `new` is not in the engine of a project
        return None
    function: Callable[[list[str]], None] = getattr(import_module(module), name)
    return function
