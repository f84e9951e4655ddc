"""`python train.py schema`: a JSON schema of configs, by which editors complete and check them."""

import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_opt.engine.base.name_matching import comparable
from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.cli.choices import OF_COMMANDS, choices_of
from lit_opt.engine.cli.options import OF_OTHER_MODULES, SYNONYMS
from lit_opt.engine.cli.program import Program

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
# An object is given by its name, its class path, or a mapping of name or path and arguments.
OBJECT: JsonSchema = {"type": ["string", "object", "array", "null"]}
OF_OWN_CLASSES = ("model", "data")
OWN_CLASS: JsonSchema = {"type": ["string", "object"], "required": ["class_path"]}


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
    choices = choices_of(line.options)
    flat: JsonSchema = {}
    for name in sorted(line.options.names - NOT_IN_CONFIGS):
        group, _, key = name.rpartition(".")
        value = _of_parameter(classes.get(group), key)
        if name in {*choices, *line.options.specs}:
            value = _of_names(value, choices.get(name, []), closed=name not in line.options.homes)
        if group in groups:
            groups[group][key] = value
        flat |= {name: value, line.options.short(name): value}
    flat |= {name: _of_type(OF_COMMANDS[name]) for name in OF_OTHER_MODULES if name not in flat}
    flat |= {word: flat[name] for word, name in SYNONYMS.items() if name in flat and len(word) > 1}
    flat |= {name: _of_group(keys, name) for name, keys in groups.items()}
    inner = "|".join(map(re.escape, flat.keys() - groups.keys()))
    known = {"anyOf": [{"enum": sorted(flat)}, {"pattern": rf"^({inner})(\.[\w.]+)?\+?$"}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A config of `python train.py --config FILE`",
        "type": "object",
        "properties": flat,
        # A class of one's own has options that are not known here.
        "if": {"anyOf": [{"required": [n], "properties": {n: OWN_CLASS}} for n in OF_OWN_CLASSES]},
        "else": {"propertyNames": known},
    }


def _of_group(keys: Mapping[str, JsonSchema], name: str) -> JsonSchema:
    """Only these keys, and additions (`callbacks+`); or a class of one's own and what it takes."""
    known = {"type": "object", "properties": keys, "additionalProperties": False}
    known["patternProperties"] = {r"^\w+\+$": {}}
    return {"anyOf": [known, OWN_CLASS]} if name in OF_OWN_CLASSES else known


def _of_names(value: JsonSchema, names: Sequence[str], closed: bool) -> JsonSchema:
    """Of an option whose value is an object that goes by a name.

    Args:
        value: What its type tells.
        names: Those that editors propose.
        closed: Whether nothing but these, in any case, and import paths are names.
    """
    told = {key: text for key, text in value.items() if key in ("description", "default")}
    if not (closed and names):
        return {**told, "anyOf": [{"enum": names}, OBJECT, *([value] if "anyOf" in value else [])]}
    spelt = "|".join(["_*".join(f"[{c}{c.upper()}]" for c in comparable(name)) for name in names])
    named = {"anyOf": [{"enum": names}, {"pattern": rf"\.|^({spelt}|none)_*([lL]_*[rR])?$"}]}
    inner = {"type": "object", "properties": {"name": named, "class_path": named}}
    return {**told, "anyOf": [{"type": "string", **named}, inner, {"type": "null"}]}


def _of_parameter(cls: type | None, key: str) -> JsonSchema:
    """The type, default and description of an argument of a class; {} for other options."""
    if cls is None or key not in (found := _parameters(cls)):
        return _of_type(OF_COMMANDS.get(key, Any))
    parameter, hint = found[key]
    value = _of_type(typing.Literal["auto"] | hint if key == "precision" else hint)
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
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return {"type": "array"}
    return OBJECT if isinstance(hint, type) and hint is not object else {}
