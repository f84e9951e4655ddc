"""What `--help TOPIC` prints, out of the parser's own help."""

import inspect
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pkgutil import resolve_name

from jsonargparse import Namespace

from lit_opt.engine.base.allowed_imports import missing_module
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.cli.class_paths import find_class
from lit_opt.engine.cli.command_line import CommandLine


def help_of(line: CommandLine, topic: str) -> str:
    """What `--help TOPIC` prints: the options of a group, one option, a class, or all.

    Raises:
        UserError: if there is no such group, option or class.
    """
    blocks = re.split(r"\n(?=  -)|\n\n", line.parser.format_help())
    shown = [re.sub(r",\s+known\s+subclasses:[^)]*", "", b) for b in blocks if b[:3] == "  -"]
    if topic == "all":
        return "\n".join(shown)
    inside = rf"--{re.escape(topic)}\.(?!.*\.help)" if topic in line.options.groups else None
    wanted = inside or rf"(--|\.){re.escape(topic)}(\.help)?( |,|$)"
    found = [block for block in shown if re.search(wanted, re.split("  |\n", block.strip())[0])]
    if not found:
        found = [*_help_of_class(line, topic)][:1]
    return "\n".join(found) or _help_of_argument(line, topic)


def _help_of_class(line: CommandLine, name: str) -> Iterator[str]:
    """The arguments of a net, data set, callback or the like that an option can name."""
    for option, homes in line.options.homes.items():
        with suppress(UserError):
            path = name if "." in name else find_class(option, name, homes)
            yield _arguments_of(line, path, option)


def _arguments_of(line: CommandLine, path: str, option: str) -> str:
    """Raises `UserError` if the class is none for the option."""
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        line.parser.parse_args([f"--{option}.help={path}"])
    told, _, arguments = printed.getvalue().partition("Help for ")[2].partition("\n\n")
    if not told:
        raise UserError(f"--{option} does not take {path}")
    about = (inspect.getdoc(resolve_name(path)) or "").partition("\n")[0]
    none = f"{path.rpartition('.')[2]} takes no arguments"
    return arguments.rstrip() or f"{about}\n{none}".lstrip()


def _help_of_argument(line: CommandLine, topic: str) -> str:
    """That of `net.hidden`, an argument of the class which an option has at present."""
    try:
        full = line.options.full(topic)
    except UserError as error:
        name = topic.rpartition(".")[2]
        if not name[:1].isupper():
            raise
        own = f"a class of your own is given by its import path: --help my_module.{name}"
        missing = missing_module(topic) if "." in topic else ""
        raise UserError(missing or f"{error}\n{own}") from error
    option = ".".join(full.split(".")[:2])
    path = _class_of(line, option)
    if not path:
        return help_of(line, line.options.short(option))
    blocks = re.split(r"\n(?=  -)", _arguments_of(line, path, option))
    found = [block for block in blocks if block.split(maxsplit=1)[0] == f"--{full}"]
    if not found:
        raise UserError(f"unknown option --{topic}; --help {path} lists what there is")
    return found[0]


def _class_of(line: CommandLine, option: str) -> str | None:
    """The import path of the class that an option has, whether or not it needs arguments."""
    given = [flag.partition("=")[2] for flag in line.flags if flag.startswith(f"--{option}=")]
    if given and option in line.options.homes:
        return given[-1]
    owner = line.parse().get(option)
    return owner.get("class_path") if isinstance(owner, Namespace) else None
