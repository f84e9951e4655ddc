"""Short names, in flags and YAML: `lr` for `model.lr`, `nll` for `torch.nn.NLLLoss`.

Everything is rewritten to the one full form that Lightning's CLI parses, so that all forms of an
option give the same configuration. Stacked from weak to strong: defaults, data, checkpoint, configs
in their order, flags.
"""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.config_file import read_config
from lit_opt.engine.cli.option_values import (
    CALLBACKS,
    METRICS,
    SPECS,
    dump,
    expand_metrics,
    expand_value,
)
from lit_opt.engine.cli.options import Options, is_flag

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
