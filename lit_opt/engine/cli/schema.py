"""`python train.py schema`: a JSON schema of configs, by which editors complete and check them."""

import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_opt.engine.cli.options import OF_OTHER_MODULES, SYNONYMS
from lit_opt.engine.cli.program import Program
from lit_opt.engine.verb_parser import VerbParser

JsonSchema = dict[str, Any]
PLAIN_TYPES: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
    type(None): "null",
}
# Options of a command, which no config sets.
NOT_IN_CONFIGS = {"config", "help", "print_config"}
# Of options that no class has.
OF_COMMANDS: JsonSchema = {
    "seed_everything": {"type": ["integer", "boolean"]},
    "name": {"type": "string"},
}
# An object is given by its name, its class path, or a mapping of name or path and arguments.
OBJECT: JsonSchema = {"type": ["string", "object", "array", "null"]}


def schema(words: list[str], program: Program) -> None:
    """`python train.py schema > FILE`."""
    VerbParser(
        "schema",
        "Prints a JSON schema of the configs. After `schema > FILE`, editors that know the YAML "
        "language server read it by a config's line `# yaml-language-server: $schema=FILE`.",
    ).parse_args(words)
    print(json.dumps(schema_of(program), indent=1, sort_keys=True))


def schema_of(program: Program) -> JsonSchema:
    """Keys as configs have them: in the groups trainer, model and data, or by short names."""
    from lightning.pytorch import Trainer

    from lit_opt.engine.cli.command_line import CommandLine

    line = CommandLine(program, ["fit"])
    classes = {"trainer": Trainer, "model": line.model_class, "data": line.data_class}
    groups: dict[str, JsonSchema] = {name: {} for name, cls in classes.items() if cls}
    flat: JsonSchema = {}
    for name in sorted(line.options.names - NOT_IN_CONFIGS):
        group, _, key = name.rpartition(".")
        value = _of_parameter(classes.get(group), key)
        if name in line.options.homes or name in line.options.specs:
            value = {key: told for key, told in value.items() if key == "description"} | OBJECT
        if group in groups:
            groups[group][key] = value
        flat |= {name: value, line.options.short(name): value}
    flat |= {name: {} for name in OF_OTHER_MODULES if name not in flat}
    flat |= {word: flat[name] for word, name in SYNONYMS.items() if name in flat and len(word) > 1}
    whole = {name: _object_of(keys, classes[name]) for name, keys in groups.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A config of `python train.py --config FILE`",
        **_object_of(flat | whole, None),
    }


def _object_of(keys: Mapping[str, JsonSchema], cls: type | None) -> JsonSchema:
    """Only these keys, arguments of objects (`optimizer.lr`) and additions (`callbacks+`).

    A group may also name a class of one's own, whose arguments are not known here.
    """
    added: JsonSchema = (
        {r"^[\w.]+\+$": {}, r"^[\w]+\.[\w.]+$": {}} if cls is None else {r"^\w+\+$": {}}
    )
    found = {"type": "object", "properties": keys, "patternProperties": added}
    known: JsonSchema = {**found, "additionalProperties": False}
    if cls is None or cls.__name__ == "Trainer":
        return known
    own = {"type": "object", "required": ["class_path"]}
    return {"anyOf": [known, own, {"type": "string"}]}


def _of_parameter(cls: type | None, key: str) -> JsonSchema:
    """The type, default and description of an argument of a class; {} for other options."""
    if cls is None or key not in (found := _parameters(cls)):
        return OF_COMMANDS.get(key, {})
    parameter, hint = found[key]
    value = _of_type(hint)
    if key == "precision":  # `auto` is ours
        value = {"type": ["string", "integer", "null"]}
    if isinstance(parameter.default, bool | int | float | str):
        value = {**value, "default": parameter.default}
    if told := _described(cls).get(key):
        value = {**value, "description": told}
    return value


def _parameters(cls: type) -> dict[str, tuple[inspect.Parameter, Any]]:
    """Parameters of its constructor, those of its base classes that it passes on among them."""
    found: dict[str, tuple[inspect.Parameter, Any]] = {}
    for base in reversed(cls.__mro__[:-1]):
        if "__init__" in vars(base):
            init = vars(base)["__init__"]
            hints = typing.get_type_hints(inspect.unwrap(init))
            signature = inspect.signature(init).parameters
            found |= {name: (p, hints.get(name, Any)) for name, p in signature.items()}
    return found


def _described(cls: type) -> dict[str, str]:
    from docstring_parser import parse  # jsonargparse's

    texts = [inspect.getdoc(base) or "" for base in (vars(cls).get("__init__"), cls)]
    return {p.arg_name: p.description or "" for text in texts for p in parse(text).params}


def _of_type(hint: Any) -> JsonSchema:
    """Of a type annotation; {} for what may be anything."""
    if hint in PLAIN_TYPES:
        return {"type": PLAIN_TYPES[hint]}
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": [*inside]}
    if origin in (typing.Union, types.UnionType):
        kinds = [_of_type(inner) for inner in inside]
        return {} if {} in kinds else {"anyOf": kinds}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object"}
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        return {"type": "array"}
    return OBJECT if isinstance(hint, type) and hint is not object else {}
