"""Values that an optimizer or scheduler of torch can have.

Torch checks few of them when it builds one; a wrong one would end the run in an error of arithmetic
at some later step, or turn the learning rate around.
"""

import ast
import math
from typing import Any

from lit_opt.engine.base.errors import UserError

ABOVE_0 = 1e-30
LEAST: dict[str, float] = {
    **dict.fromkeys(("step_size", "T_max", "step_size_up", "step_size_down"), 1),
    **dict.fromkeys(("history_size", "max_iter", "max_eval", "ns_steps"), 1),
    **dict.fromkeys(("total_iters", "patience", "cooldown", "milestones"), 0),
    **dict.fromkeys(("gamma", "power", "eta_min", "min_lr", "base_lr"), 0),
    **dict.fromkeys(("base_momentum", "max_momentum"), 0),
    **dict.fromkeys(("lambd", "alpha", "t0"), 0),
    **dict.fromkeys(("div_factor", "final_div_factor", "factor"), ABOVE_0),
}
# By torch, by the length of a list, and by what a float can hold as a power.
GREATEST = {"ns_steps": 99, "history_size": 10**6, "alpha": 100}
ONE_OF: dict[str, tuple[Any, ...]] = {
    "line_search_fn": ("strong_wolfe", None),
    "differentiable": (False,),  # for a step within a larger graph, which no training loop has
}


def checked(cls: type, flag: str, key: str, annotation: Any, value: Any) -> Any:
    """`value` for the argument `key` of torch's class `cls`, a whole number of any form as an int.

    Args:
        cls: An optimizer or scheduler; a user's own checks its arguments itself.
        flag: `optimizer` or `scheduler`.
        annotation: That of the argument; one that is not of numbers and words allows anything.

    Raises:
        UserError: if the class can't have it.
    """
    if not cls.__module__.startswith(("torch.", "lit_opt.")):
        return value
    value = tuple(value) if isinstance(value, list) else value
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    expected = _wanted(text, value)
    if key in ONE_OF and value not in ONE_OF[key]:
        expected = " or ".join(map(str, ONE_OF[key]))
    if expected is None:
        numbers = value if isinstance(value, tuple) else (value,)
        numbers = tuple(n for n in numbers if isinstance(n, int | float))
        least, most = LEAST.get(key, -math.inf), GREATEST.get(key, math.inf)
        if all(least <= number <= most for number in numbers):  # which nan never is
            if key not in LEAST or key == "t0" or all(map(math.isfinite, numbers)):
                return _as_int(text, value)
            least = -math.inf
        expected = "a number above 0" if least == ABOVE_0 else f"at least {least}"
        expected = "a number" if least == -math.inf else expected
        expected += f" and at most {most}" * (most < math.inf)
    shown = list(value) if isinstance(value, tuple) else value
    raise UserError(f"--{flag}.{key} of {cls.__name__} is {shown}; expected {expected}")


def _as_int(annotation: str, value: Any) -> Any:
    """`3.0`, which YAML makes of `3.` and `30e-1`, as 3 where it is a number of things."""
    if "int" not in annotation or "float" in annotation:
        return value
    if isinstance(value, tuple):
        return tuple(_as_int(annotation, inner) for inner in value)
    return int(value) if isinstance(value, float) else value


def _wanted(annotation: str, value: Any) -> str | None:
    """In words, what an argument takes; None if `value` is such."""
    name, _, inside = annotation.removesuffix("]").partition("[")
    if name == "Literal":
        words = ast.literal_eval(f"({inside},)")
        return None if value in words else " or ".join(words)
    if name in ("tuple", "Iterable"):
        values = value if isinstance(value, tuple) else ()
        parts = inside.split(", ") if name == "tuple" else [inside] * max(1, len(values))
        if len(values) == len(parts) and not any(map(_wanted, parts, values)):
            return None
        return f"a list of {len(parts) if name == 'tuple' else 'whole'} numbers"
    kinds = annotation.split(" | ")
    if "list[float]" in kinds and isinstance(value, tuple):
        return "numbers" if any(_wanted("float", number) for number in value) else None
    if value is None or isinstance(value, bool):
        fits = (type(value).__name__ if value is not None else "None") in kinds
    elif "float" in kinds or "int" in kinds:
        whole = "float" not in kinds
        fits = isinstance(value, int | float) and (not whole or float(value).is_integer())
    else:
        fits = kinds not in (["bool"], ["bool", "None"])
    words = {"bool": "true or false", "int": "a whole number", "float": "a number", "None": "null"}
    return None if fits else " or ".join(words[kind] for kind in kinds if kind in words)
