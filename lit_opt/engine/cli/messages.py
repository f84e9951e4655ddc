"""How jsonargparse's help and errors are worded."""

import re
from argparse import Action

from jsonargparse import DefaultHelpFormatter

from lit_opt.engine.allowed_imports import refusal

# jsonargparse's words, and ours where the value is part of another.
REFUSED = re.compile(r"Importing '([\w.]+)' is not allowed|([\w.]+) is not imported")


class HelpFormatter(DefaultHelpFormatter):
    """Shows `--accelerator, --trainer.accelerator` for options with a short name."""

    def _format_action_invocation(self, action: Action) -> str:
        text = super()._format_action_invocation(action)
        match = re.match(r"--(trainer|model|data)\.(\w+)( |$)", text)
        return f"--{match[2]}, {text}" if match else text


def short_error(message: str) -> str:
    """jsonargparse's message as `--key: expected …; got …`."""
    key = re.search(r'Parser key "([^"]+)"', message)
    if refused := REFUSED.search(message):
        reason = refusal(refused[1] or refused[2])
        return f"--{key[1]}: {reason}" if key else reason
    if key is None:
        return message.strip()
    option = f"--{key[1]}"
    if unknown := re.search(r"Option '\w+' is not accepted", message):
        return f"{option}: {unknown[0]}"
    if missing := re.search(r"arguments are required: (\w+)", message):
        named = re.search(r"class_path='(?:\w+\.)*(\w+)'", message)
        return f"{option}: {named[1] if named else 'it'} needs {missing[1]}"
    if wrong := re.search(r"Problem with given class_path '(.*?)':\s*(.*)", message):
        return f"{option}: {wrong[1]} can't be used: {wrong[2]}"
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    reasons = re.findall(r"(?:Expected an? |Type \S+ )[^\n]*", message)
    wanted = [_plain(reason) for reason in reasons if not re.search(r"NoneType|a path but", reason)]
    expected = " or ".join(list(dict.fromkeys(wanted))[:3]) or message.splitlines()[-1].strip()
    seen = f"; got {value[1].strip()}" if value else ""
    return f"{option}: expected {expected}{seen}"[:400]


def _plain(reason: str) -> str:
    """`Expected a <class 'int'>. Got value: x` -> `int`"""
    reason = re.sub(r"\.? Got value:.*", "", reason).removeprefix("Expected a ")
    reason = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", reason)
    return re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", reason)
