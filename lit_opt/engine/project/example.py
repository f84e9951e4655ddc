"""An example as the task of a project: its classes, its configs, its tests, its `train.py`."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lit_opt.engine.base.allowed_imports import TEMPLATE
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.project.files import WIDTH

TRAIN = '''\
"""The door: `python train.py` trains, validates and tests; add `--help` for all the rest."""

from {package}.engine.cli.main import main
from {package}.engine.cli.program import Program

program = Program(
    model="{model}",
    data="{data}",
    defaults={defaults},
)

if __name__ == "__main__":
    main(program)
'''
SHIPPED = {
    "net": "MLP",
    "loss": "CrossEntropyLoss",
    "optimizer": "AdamW",
    "dataset": "Digits",
    "max_epochs": 20,
}


def examples_of(files: Mapping[str, bytes]) -> list[str]:
    return sorted({path.split("/")[1] for path in files if path.startswith("examples/")})


def example_files(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    """The files of an example by their places in the project; class paths name the package.

    Args:
        files: Those of lit-opt, by their paths from the root.
        name: The example's folder.

    Raises:
        UserError: if there is no such example.
    """
    inside = {p: c for p, c in files.items() if p.startswith(f"examples/{name}/")}
    if not inside:
        raise UserError(f"--example {name}: expected one of {', '.join(examples_of(files))}")
    found = {_place_of_file(path, name): _moved(content, name) for path, content in inside.items()}
    test = f"tests/examples/test_example_{name}.py"
    if test in files:
        found[f"tests/test_{name}.py"] = _moved(files[test], name)
    return found


def _place_of_file(path: str, name: str) -> str:
    file = path.rpartition("/")[2]
    if file.endswith(".py"):
        return f"{TEMPLATE}/{file}"
    return f"configs/{name}.yaml" if file == "config.yaml" else f"configs/{file}"


def _moved(content: bytes, name: str) -> bytes:
    text = content.decode()
    text = re.sub(rf"\bexamples/{name}/([\w.]+)", lambda m: _place_of_file(m[0], name), text)
    return re.sub(rf"\bexamples\.{name}\.", f"{TEMPLATE}.", text).encode()


# ---- train.py


def train_of(files: Mapping[str, bytes], name: str | None) -> bytes:
    """The `train.py` of a project whose task is the example, or the shipped one.

    Args:
        files: Those of the project, still with the template's package.
        name: The example, whose config becomes the defaults; its pretraining, where it has one.
    """
    model, data = f"{TEMPLATE}.module.LitModule", f"{TEMPLATE}.datamodule.ImageData"
    defaults: dict[str, Any] = {}
    if name:
        first = "configs/pretrain.yaml"  # what the others start from, if there is one
        given = yaml.safe_load(files[first if first in files else f"configs/{name}.yaml"])
        own_model, options = _class_and_options(given.pop("model", {}))
        own_data, of_data = _class_and_options(given.pop("data", {}))
        defaults = {**options, **of_data, **given.pop("trainer", {}), **given}
        model, data = own_model or model, own_data or data
    takes = _shipped_options(files, model, data)
    defaults = {key: value for key, value in SHIPPED.items() if key in takes} | defaults
    shown = in_lines(defaults, 4)
    return TRAIN.format(package=TEMPLATE, model=model, data=data, defaults=shown).encode()


def _class_and_options(value: Any) -> tuple[str | None, dict[str, Any]]:
    """`model: my.Model` or {class_path, init_args} or the options of the shipped class."""
    if isinstance(value, str):
        return value, {}
    if "class_path" in value:
        return value["class_path"], value.get("init_args", {})
    return None, value


def _shipped_options(files: Mapping[str, bytes], model: str, data: str) -> set[str]:
    """The shipped defaults that these classes take: those of LitModule and ImageData."""
    taken = {"max_epochs"}
    if _derives(files, model, "LitModule"):
        taken |= {"net", "loss", "optimizer"}
    if _derives(files, data, "ImageData"):
        taken.add("dataset")
    return taken


def _derives(files: Mapping[str, bytes], path: str, base: str) -> bool:
    """Whether a class is `base` or is written as derived from it."""
    module, _, name = path.rpartition(".")
    if name == base:
        return True
    source = files.get(module.replace(".", "/") + ".py", b"")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    bases = [ast.unparse(b) for node in classes if node.name == name for b in node.bases]
    return any(text.endswith(base) for text in bases)


def literal(value: Any, indent: int, used: int) -> str:
    """Python source of plain values as ruff formats it.

    Args:
        value: Of mappings, lists, text, numbers, booleans and None.
        indent: Spaces before the line on which it begins.
        used: Characters before it on that line; a comma follows.
    """
    line = _line(value)
    fits = used + len(line) + 1 <= WIDTH
    return line if fits or not isinstance(value, dict | list) else in_lines(value, indent)


def in_lines(value: Any, indent: int) -> str:
    """The same for a mapping or list, an item a line."""
    space, inside = " " * indent, " " * (indent + 4)
    if isinstance(value, list):
        items = "".join(f"{inside}{literal(v, indent + 4, indent + 4)},\n" for v in value)
        return f"[\n{items}{space}]"
    keys = {key: json.dumps(key) + ": " for key in value}
    items = "".join(
        f"{inside}{start}{literal(value[key], indent + 4, indent + 4 + len(start))},\n"
        for key, start in keys.items()
    )
    return f"{{\n{items}{space}}}"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_line(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
