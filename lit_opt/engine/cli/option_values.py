"""The forms of a value: a name for a class, a mapping for an optimizer or metrics."""

from typing import Any

import yaml

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.class_paths import expand_class, moved
from lit_opt.engine.cli.options import Options

# Options given as {"name": …, argument: …}; naming one anew drops the arguments of the old one.
SPECS = {"model.optimizer", "model.scheduler"}
# Given by name as well, a mapping from the name that is logged to such a spec.
METRICS = "model.metrics"
CALLBACKS = "trainer.callbacks"


def expand_value(name: str, value: Any, options: Options) -> Any:
    value = moved(value)
    if name in SPECS & options.specs:
        return expand_spec(value)
    if name.rstrip("+") == METRICS and METRICS in options.specs:
        return expand_metrics(value)
    if name == CALLBACKS and value is not None and not isinstance(value, list):
        value = [value]  # the Trainer takes one alone, all that look at them take a list
    return expand_class(name, value, options) if name in options.homes else value


def expand_spec(value: Any) -> Any:
    """`Adam` and Lightning's class_path form -> `{"name": "Adam", argument: …}`."""
    if isinstance(value, str):
        return None if value.lower() == "none" else {"name": value}
    if isinstance(value, dict) and "class_path" in value:
        return {"name": value["class_path"], **(value.get("init_args") or {})}
    return value


def expand_metrics(value: Any) -> Any:
    """`[f1, {name: acc, top_k: 5}]`, `{f1: null}` -> `{name to log: {"name": …, argument: …}}`."""
    if value is None:
        return None
    if not isinstance(value, dict):
        listed = value if isinstance(value, list) else [value]
        found = [spec for item in listed if (spec := expand_spec(moved(item)))]
        specs = [_checked_spec("metrics", spec) for spec in found]
        names = [str(spec.get("name")).rpartition(".")[2] for spec in specs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(
                f"--metrics: {twice[0]!r} is there twice; name one of them anew, such as\n"
                f"{{{twice[0]}_2: {{name: {twice[0]}, …}}}}"
            )
        value = dict(zip(names, specs, strict=True))
    return {key: spec if ":" in key else _named_spec(key, spec) for key, spec in value.items()}


def _named_spec(key: str, spec: Any) -> dict[str, Any]:
    return {"name": key, **_checked_spec(f"metrics.{key}", expand_spec(moved(spec)) or {})}


def _checked_spec(option: str, spec: Any) -> dict[str, Any]:
    """Raises `UserError` if it is no name with arguments."""
    if not isinstance(spec, dict):
        raise UserError(f"--{option} is {spec}; expected a name, or {{name: …}}")
    return spec


def join_arguments(metrics: Any) -> Any:
    """`{"f1": {…}, "f1:top_k": 2}` -> `{"f1": {…, "top_k": 2}}`."""
    joined: dict[str, Any] = {}
    for key, value in (metrics or {}).items():
        name, _, argument = key.partition(":")
        inner = joined.setdefault(name, {"name": name})
        inner |= {argument: value} if argument else value
    return joined if metrics else metrics


def dump(value: Any) -> str:
    """One line of YAML that jsonargparse reads back as the same value."""
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10**9))
        .removesuffix("...\n")
        .strip()
    )
