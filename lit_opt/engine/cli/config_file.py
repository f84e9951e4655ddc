"""A YAML file of options, short and full names alike."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.option_values import expand_value
from lit_opt.engine.cli.options import Options


def read_config(path: Path, options: Options) -> dict[str, Any]:
    """A YAML file with its short names written out; keys may stand in their group or alone."""
    if not path.is_file():
        nearest = difflib.get_close_matches(path.stem, [p.stem for p in path.parent.glob("*.yaml")])
        hint = f"; did you mean {path.parent / nearest[0]}.yaml?" if nearest else ""
        raise UserError(f"--config: there is no file {path}{hint}")
    try:
        text = path.read_text("utf-8-sig")
        content = get_loader("yaml")(text)
        twice = _key_given_twice(yaml.compose(text, yaml.SafeLoader), set())
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it as such") from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} has no keys; expected lines like `lr: 0.1`")
    if twice:
        raise UserError(f"{path} has the key {twice} twice; leave one of them")
    try:
        return expand_mapping(content, options)
    except UserError as error:
        raise UserError(f"{path}: {error}".replace("option --", "key ")) from None


def _key_given_twice(node: Any, seen: set[int]) -> str | None:
    """A key that a mapping in YAML has twice, with its line; the parser would keep the last."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return None
    seen.add(id(node))
    inner = node.value
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, _ in reversed(node.value):
            if keys.count(key.value) > 1:
                return f"{key.value!r} (line {key.start_mark.line + 1})"
        inner = [value for _, value in node.value]
    return next(filter(None, (_key_given_twice(part, seen) for part in inner)), None)


def expand_mapping(content: dict[str, Any], options: Options) -> dict[str, Any]:
    """`{"lr": 0.1, "trainer": {…}}` -> `{"model": {"lr": 0.1}, "trainer": {…}}`."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise UserError(f"option --{key} is no name; quote it, or write what it stands for")
        if key in options.groups and not isinstance(value, dict | str):
            if value is not None:
                raise UserError(f"option --{key} is {value}; expected the options of {key}")
            value = {}
        if key in ("model", "data"):  # the classes themselves are known by now
            value = {} if isinstance(value, str) else _without_class(value)
        inner = value if key in options.groups and isinstance(value, dict) else {"": value}
        for name, item in inner.items():
            plain = ".".join(filter(None, (key, name))).rstrip("+")
            group, _, option = options.full(plain).rpartition(".")
            target = result.setdefault(group, {}) if group else result
            target[option + "+" * f"{key}{name}".endswith("+")] = expand_value(
                f"{group}.{option}", item, options
            )
    return result


def _without_class(value: Any) -> Any:
    has_class = isinstance(value, dict) and "class_path" in value
    return value.get("init_args") or {} if has_class else value
