"""`python train.py completion bash`: a script by which a shell completes the command line."""

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from lit_opt.engine.base.errors import Stopped
from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.cli.options import COMMANDS, SYNONYMS, Options
from lit_opt.engine.cli.program import Program
from lit_opt.engine.cli.verbs import VERBS, VERBS_OF_PROGRAM, verb_named

# `=` is a word of its own to bash. Other scripts of Python, and what has no names such as the value
# of --config, are completed by the names of files.
SCRIPT = r"""# Into a file that ~/.{shell}rc sources: python train.py completion {shell} > FILE
{start}_lit_opt() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} at=0 words=
  COMPREPLY=()
  while [[ ${{COMP_WORDS[at]}} != train.py && ${{COMP_WORDS[at]}} != */train.py ]]; do
    at=$((at + 1))
    if [[ $at -ge $COMP_CWORD ]]; then return; fi
  done
  if [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
  if [[ $word == = ]]; then word=; fi
  case ${{COMP_WORDS[at+1]}} in
{verbs}
    *) case ${{before%+}} in
{values}
      *) if [[ $word == -* ]]; then words={flags}; fi ;;
    esac ;;
  esac
  if [[ $COMP_CWORD -eq $((at + 1)) && $word != -* ]]; then words={commands}; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _lit_opt python python3 train.py ./train.py
"""


def completion(words: list[str], program: Program) -> None:
    """`python train.py completion bash|zsh`: prints the script."""
    parser = VerbParser("completion", "Prints what a shell needs to complete `python train.py …`.")
    parser.add_argument("shell", choices=("bash", "zsh"))
    print(script(parser.parse_args(words).shell, program))


def script(shell: str, program: Program) -> str:
    """The names are written into it, so that nothing is imported while somebody types."""
    from lit_opt.engine.cli.command_line import CommandLine
    from lit_opt.engine.cli.schema import schema_of

    options = CommandLine(program, ["fit"]).options
    verbs = [verb for verb in (*VERBS, *VERBS_OF_PROGRAM) if verb_named(verb)]
    told = schema_of(program)["properties"].items()
    values = {f"--{name}": [*values_in(schema)] for name, schema in told}
    return SCRIPT.format(
        shell=shell,
        start="autoload -U bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        verbs=_cases({verb: _taken_by_verb(verb, program) for verb in verbs}),
        values=_cases({flag: known for flag, known in values.items() if known}),
        flags=shlex.quote(" ".join(sorted({f"--{name}" for name in flags_of(options)}))),
        commands=shlex.quote(" ".join([*COMMANDS, *verbs])),
    )


def _cases(words: dict[str, list[str]]) -> str:
    return "\n".join(
        f"    {word}) words={shlex.quote(' '.join(known))} ;;" for word, known in words.items()
    )


def flags_of(options: Options) -> Iterable[str]:
    """All names of options: full, short where they are unambiguous, and synonyms."""
    for name in options.names:
        yield from (name, options.short(name))
    yield from (name for name in SYNONYMS if len(name) > 1)


def values_in(schema: dict[str, Any]) -> Iterator[str]:
    """The values that have names: `true` and `false` of a switch among them."""
    if schema.get("type") == "boolean":
        yield from ("true", "false")
    yield from (value for value in schema.get("enum", ()) if isinstance(value, str))
    for inner in schema.get("anyOf", ()):
        yield from values_in(inner)


def _taken_by_verb(verb: str, program: Program) -> list[str]:
    """The options that its `--help` lists, and the choices of a word without an option."""
    function = verb_named(verb)
    try:
        if function:
            function(["--help"], *([program] if verb in VERBS_OF_PROGRAM else []))
    except Stopped as told:
        choices = re.findall(r"(?<![\w-] )\{([\w,]+)\}", str(told).partition("\n\n")[0])
        return sorted({*re.findall(r"--[\w-]+", str(told)), *",".join(choices).split(",")} - {""})
    return []
