"""Short names, in flags and YAML: `lr` for `model.lr`, `nll` for `torch.nn.NLLLoss`.

Everything is rewritten to the one full form that Lightning's CLI parses, so that all forms of an
option give the same configuration. Stacked from weak to strong: defaults, data, checkpoint, configs
in their order, flags.
"""

import difflib
import importlib
import inspect
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from lit_opt.engine.base.allowed_imports import OWN, TEMPLATE
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.name_matching import comparable, nearest
from lit_opt.engine.cli.options import Options, is_flag

# Options given as {"name": …, argument: …}; naming one anew drops the arguments of the old one.
SPECS = {"model.optimizer", "model.scheduler"}
# Given by name as well, a mapping from the name that is logged to such a spec.
METRICS = "model.metrics"
CALLBACKS = "trainer.callbacks"
# Where classes are now that checkpoints and configs name which are older, or of lit-opt itself.
MOVED = {
    f"{TEMPLATE}.data.": f"{OWN}.sources.",
    f"{TEMPLATE}.callbacks.": f"{OWN}.engine.callbacks.",
    f"{TEMPLATE}.metrics.": f"{OWN}.engine.tasks.metrics.",
    f"{TEMPLATE}.": f"{OWN}.",
}
# What an option means that stands without a value.
SWITCHES = {
    "test": ("test", "true"),
    "no_test": ("test", "false"),
    "compile": ("compile", "true"),
    "resume": ("resume", "true"),
}


def expand_flags(argv: list[str], options: Options) -> list[str]:
    """Every flag as `--full.name=value`: configs first, then names of classes, then the rest."""
    ranked = []
    for flag, value in _pairs(argv):
        name = options.full(flag.rstrip("+"))
        if value is None and name in options.switches:
            value = "true"
        elif value is None and name != "print_config" and not name.endswith("help"):
            raise UserError(f"--{flag} needs a value; a switch takes true or false")
        if METRICS in options.specs and name.startswith(METRICS) and value is not None:
            ranked += _flags_of_metrics(name, flag.endswith("+"), _parse(flag, value))
            continue
        if name == "config" and value is not None:
            ranked += [(0, word) for word in _flags_of_config(Path(value), options)]
            continue
        elif value is not None and name in {*options.homes, *options.specs}:
            value = dump(expand_value(name, _parse(flag, value), options))
        several = (CALLBACKS, "trainer.logger")  # each followed by its own arguments
        first = (name in options.homes and name not in several) or name in options.specs
        rank = 0 if name == "config" else 1 if first else 2
        name += "+" * flag.endswith("+")
        ranked.append((rank, f"--{name}" if value is None else f"--{name}={value}"))
    return [token for _, token in sorted(ranked, key=lambda pair: pair[0])]


def _flags_of_config(path: Path, options: Options) -> list[str]:
    """The config, then what it adds to what is there before it: `optimizer: {momentum: 0.9}`."""
    content = read_config(path, options)
    model = content.get("model", {})
    flags = [f"--{METRICS}.{key}={dump(spec)}" for key, spec in model.pop("metrics+", {}).items()]
    for name in sorted(SPECS & set(options.specs)):
        spec = model.get(key := name.partition(".")[2])
        if isinstance(spec, dict) and spec and "name" not in spec:
            flags += [f"--{name}.{argument}={dump(value)}" for argument, value in spec.items()]
            del model[key]
    return [f"--config={dump(content)}", *flags]


def _flags_of_metrics(name: str, appends: bool, value: Any) -> list[tuple[int, str]]:
    """`--metrics=…` sets all, `--metrics+=f1` one more, `--metrics.f1.top_k=2` an argument of one.

    jsonargparse sets a key of a mapping, but no key in it: it is `f1:top_k` until `join_arguments`.
    """
    key = name.removeprefix(METRICS).lstrip(".").replace(".init_args.", ".")
    if "." in key:
        return [(2, f"--{METRICS}.{key.replace('.', ':')}={dump(value)}")]
    if not key and not appends:
        return [(1, f"--{METRICS}={dump(expand_metrics(value))}")]
    specs = expand_metrics({key: value} if key else value)
    return [(2, f"--{METRICS}.{key}={dump(spec)}") for key, spec in specs.items()]


def _parse(flag: str, value: str) -> Any:
    try:
        return get_loader("yaml")(value)
    except yaml.YAMLError as error:
        raise UserError(f"--{flag} {value} is not YAML: {' '.join(str(error).split())}") from None


def _pairs(argv: list[str]) -> Iterator[tuple[str, str | None]]:
    """`--flag value`, `--flag=value` and `--flag` as (flag, value or None); lists of metrics."""
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if not is_flag(token):
            raise UserError(f"unexpected {token!r}; options are written --name value")
        flag, equals, value = token.lstrip("-").partition("=")
        if flag in SWITCHES and not equals and (not tokens or is_flag(tokens[0])):
            yield SWITCHES[flag]
        elif equals:
            yield flag, value
        else:
            words = list(takewhile(lambda word: not is_flag(word), tokens))
            words = words if flag.rstrip("+") in ("metrics", METRICS) else words[:1]
            del tokens[: len(words)]
            yield flag, (words[0] if words else None) if len(words) < 2 else str(words)


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
        specs = [spec for item in listed if (spec := expand_spec(moved(item)))]
        specs = [spec for spec in specs if _is_spec("metrics", spec)]
        names = [str(spec.get("name")).rpartition(".")[2] for spec in specs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(
                f"--metrics: {twice[0]!r} is there twice; name one of them anew, such as\n"
                f"{{{twice[0]}_2: {{name: {twice[0]}, …}}}}"
            )
        value = dict(zip(names, specs, strict=True))
    return {key: spec if ":" in key else _named_spec(key, spec) for key, spec in value.items()}


def _named_spec(key: str, spec: Any) -> dict[str, Any]:
    spec = expand_spec(moved(spec)) or {}
    return {"name": key, **spec} if _is_spec(f"metrics.{key}", spec) else {}


def _is_spec(option: str, spec: Any) -> bool:
    """Whether it is a name with arguments; raises `UserError` if it is not."""
    if not isinstance(spec, dict):
        raise UserError(f"--{option} is {spec}; expected a name, or {{name: …}}")
    return True


def join_arguments(metrics: Any) -> Any:
    """`{"f1": {…}, "f1:top_k": 2}` -> `{"f1": {…, "top_k": 2}}`."""
    joined: dict[str, Any] = {}
    for key, value in (metrics or {}).items():
        name, _, argument = key.partition(":")
        inner = joined.setdefault(name, {"name": name})
        inner |= {argument: value} if argument else value
    return joined if metrics else metrics


def expand_class(name: str, value: Any, options: Options) -> Any:
    """A bare class name, alone, in a list or as a class_path, -> its import path."""
    if isinstance(value, list):
        return [expand_class(name, item, options) for item in value]
    if isinstance(value, str):
        bare = "." not in value and value[:1] not in "{["
        return find_class(name, value, options.homes[name]) if bare else value
    if isinstance(value, dict) and "class_path" in value:
        return {**value, "class_path": expand_class(name, value["class_path"], options)}
    return value


def moved(value: Any) -> Any:
    """The same with the import paths of today for classes that an older version's name, nested."""
    if isinstance(value, dict):
        return {key: moved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item) for item in value]
    old = next((start for start in MOVED if str(value).startswith(start)), "")
    return MOVED[old] + value.removeprefix(old) if old else value


def find_class(option: str, wanted: str, homes: Sequence[str]) -> str:
    """Import path of the class that `wanted` names, whatever its case: `nll`, `cross_entropy`."""
    known = {comparable(name): path for home in homes for name, path in classes_in(home)}
    for word in (wanted, f"{wanted}Logger"):  # `wandb` is WandbLogger
        if comparable(word) in known:
            return known[comparable(word)]
    near = nearest(wanted, [path.rpartition(".")[2] for path in known.values()])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UserError(
        f"--{option.split('.')[1]}: no {wanted!r} in {' or '.join(homes)}{hint}\n"
        "a class of your own is given by its import path: my_module.MyClass"
    )


def classes_in(home: str) -> Iterator[tuple[str, str]]:
    """(name, import path) of a module's own public classes; of torch.nn the losses.

    A loss of one's own may be a function.
    """
    module = importlib.import_module(home)
    listed = getattr(module, "__all__", ())
    for name, value in vars(module).items():
        kind = inspect.isfunction if home.endswith(".losses") else inspect.isclass
        own = kind(value) or inspect.isclass(value)
        own = own and (name in listed or value.__module__.startswith(home))
        own = own and name[0] != "_"
        if own and (home != "torch.nn" or name.endswith("Loss")):
            yield name, f"{home}.{name}"


def dump(value: Any) -> str:
    """One line of YAML that jsonargparse reads back as the same value."""
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10**9))
        .removesuffix("...\n")
        .strip()
    )
