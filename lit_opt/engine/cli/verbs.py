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


# And these of the words and the program, whose options they tell.
VERBS_OF_PROGRAM = {
    "completion": "lit_opt.engine.cli.completion:completion",
    "schema": "lit_opt.engine.cli.schema:schema",
}


def verb_named(word: str) -> Callable[..., None] | None:
    """The function of a command such as `compare`, or None if it is not one of these."""
    named = {**VERBS, **VERBS_OF_PROGRAM}.get(word)
    if named is None:
        return None
    module, _, name = named.partition(":")
    if find_spec(module) is None:  # `new` is not in the engine of a project
        return None
    function: Callable[..., None] = getattr(import_module(module), name)
    return function
