"""`python train.py completion bash`: a script by which a shell completes the command line."""

import shlex
from collections.abc import Iterable, Mapping

from lit_opt.engine.cli.options import COMMANDS, SYNONYMS, Options
from lit_opt.engine.cli.program import Program
from lit_opt.engine.cli.verbs import VERBS, VERBS_OF_PROGRAM, verb_named
from lit_opt.engine.verb_parser import VerbParser

CHOICES = {
    "accelerator": ["auto", "cpu", "gpu", "mps"],
    "precision": ["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"],
}
# `=` is a word of its own to bash. Other scripts of Python are completed by their file names.
SCRIPT = r"""# Into a file that ~/.{shell}rc sources: python train.py completion {shell} > FILE
{start}_lit_opt() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  [[ " ${{COMP_WORDS[*]:0:COMP_CWORD}} " == *train.py\ * ]] || return
  if [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
  if [[ $word == = ]]; then word=; fi
  case $before in
{cases}
    *) COMPREPLY=($(compgen -W {words} -- "$word")) ;;
  esac
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

    options = CommandLine(program, ["fit"]).options
    verbs = [*COMMANDS, *filter(verb_named, VERBS), *VERBS_OF_PROGRAM]
    cases = "\n".join(
        f"    {'|'.join(_both(options, name))}) "
        f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(values))} -- "$word")) ;;'
        for name, values in sorted(choices_of(options).items())
    )
    start = "autoload -U bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    listed = shlex.quote(" ".join([*verbs, *sorted({f"--{n}" for n in flags_of(options)})]))
    return SCRIPT.format(shell=shell, start=start, cases=cases, words=listed)


def flags_of(options: Options) -> Iterable[str]:
    """All names of options: full, short where they are unambiguous, and synonyms."""
    for name in options.names:
        yield from (name, options.short(name))
    yield from (name for name in SYNONYMS if len(name) > 1)


def choices_of(options: Options) -> Mapping[str, list[str]]:
    """The values that have names, by the short name of their option."""
    from torch import optim

    from lit_opt.engine.cli.arguments import classes_in

    found = dict(CHOICES)
    for name, homes in options.homes.items():
        classes = {own for home in homes for own, _ in classes_in(home)}
        found[options.short(name)] = sorted(classes)
    optimizers = [name for name in optim.__all__ if isinstance(vars(optim)[name], type)]
    schedulers = [name for name in optim.lr_scheduler.__all__ if name != "LRScheduler"]
    given = {"model.optimizer": optimizers, "model.scheduler": schedulers}
    return found | {options.short(k): v for k, v in given.items() if k in options.names}


def _both(options: Options, short: str) -> list[str]:
    full = [name for name in options.names if options.short(name) == short]
    return [f"--{name}" for name in dict.fromkeys([short, *full])]
