"""What ends a command, in one to four lines; all that is recognised by other libraries' words.

Where their words have changed, their own message is printed.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from lit_opt.engine.base.allowed_imports import refusal
from lit_opt.engine.base.errors import RunError, Stopped, UserError
from lit_opt.engine.base.own_code import place_in_own_code, place_of_cause

# ---- how a command is left


def leave(error: BaseException, debug: bool = False) -> None:
    """Prints why a command ended and exits with its status; returns if that is 0.

    Args:
        error: What ended the command.
        debug: Whether to raise errors as they are, for their traceback.

    Raises:
        SystemExit: 2 for usage and data, 1 for a failed run, 130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(error, Stopped):
        print(error if error.code == 0 else f"stopped: {error}", file=_stream(error.code))
        if error.code:
            raise SystemExit(error.code) from error
        return
    if _is_of_ctrl_c(error):
        raise SystemExit(130) from None
    if isinstance(error, SystemExit):
        from lit_opt.engine.lightning_private import is_of_sigterm

        raise SystemExit(143) if is_of_sigterm(error) else error
    if debug or not isinstance(error, Exception):
        raise error
    _fail_with(error)


def _stream(code: int) -> Any:
    return sys.stderr if code else sys.stdout


def _is_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether Lightning caught it and left in its own way, or stumbled."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _fail_with(error: Exception) -> NoReturn:
    """What Lightning itself refuses is usage; an error of one's own code has a place."""
    usage = is_usage(error)
    error = _reworded(error) or error
    place = place_of_cause(error) if isinstance(error, UserError) else ""
    lines = str(error).strip().splitlines()[: 3 if place else 4] or [type(error).__name__]
    text = "\n".join(lines) + place
    if not usage and not isinstance(error, RunError):
        told = f"{type(error).__name__}: {lines[0]}"
        text = f"{told}{place_in_own_code(error)}\n--debug shows the traceback"
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(2 if usage else 1) from error


def is_usage(error: Exception) -> bool:
    """Whether something else is to be given, be it that we say so or Lightning."""
    known = isinstance(error, UserError) or _reworded(error) is not None
    return known or _is_refused_by_lightning(error)


def _is_refused_by_lightning(error: Exception) -> bool:
    """Whether an option of the Trainer has a value that it can't have."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    by = place.tb_frame.f_globals.get("__name__", "") if place else ""
    if isinstance(error, ModuleNotFoundError):  # that an option's object needs
        return by.startswith("lightning.")
    return isinstance(error, ValueError | TypeError) and by.startswith(REFUSES)


REFUSES: tuple[str, ...] = ("lightning.pytorch.trainer.", "lightning.pytorch.loops.fit_loop")
REFUSES += ("lightning.fabric.", "lightning.pytorch.utilities.model_summary")
REFUSES += ("torch.nn.utils.prune",)

# What Lightning says without a remedy, and what is said instead.
REWORDED = {
    r"The (\w+) implementation has an error where more than one .* parent's `(\w+)=": (
        r"Lightning builds a \1 anew and needs the name of its argument \2:\n"
        r"write \1(rows, \2=…) in your predict_dataloader, and in the other loaders"
    ),
    r"Error while merging hparams: the keys \[(.*?)\] are present in both": (
        r"the LightningModule and the LightningDataModule save different values of \1;\n"
        "give both the same value, or call save_hyperparameters(logger=False) in one of them"
    ),
}


def _reworded(error: Exception) -> UserError | None:
    for pattern, words in REWORDED.items():
        if found := re.match(pattern, str(error)):
            return UserError(found.expand(words))
    return None


# ---- a full memory

FULL = re.compile(r"out of memory|DefaultCPUAllocator|C\w+_STATUS\w+ALLOC\w*_FAILED", re.IGNORECASE)
SIZE = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


LARGER_THAN_MEMORY = "; the net, or the data set, is too large"


def is_full(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(FULL.search(str(error)))


def full_memory(error: Exception, stage: str | None, trainer: Any, data: Any) -> Exception:
    """A `RunError` in place of an error that tells of a full memory, or else the error itself.

    Args:
        error: What was raised, of the host or a device.
        stage: What was running: "train", an evaluation such as "validate", or None.
        trainer: Whose precision and accumulation are proposed to be changed.
        data: Whose `batch_size` and `eval_batch_size` are named.
    """
    if not is_full(error):
        return error
    size = SIZE.search(str(error))
    wanted = f" (tried to allocate {size[1]})" if size else ""
    half = "" if "16" in str(trainer.precision) else ", or set --precision bf16-mixed"
    if stage == "train":
        more = 2 * trainer.accumulate_grad_batches
        makes_up = f"(--accumulate_grad_batches {more} makes up for half of it)"
        what = f"lower {_now('batch_size', data)} {makes_up}{half}"
    elif stage:
        what = f"lower {_now('eval_batch_size', data)}{half}"
    else:
        return RunError(f"out of memory{wanted}{LARGER_THAN_MEMORY}")
    return RunError(f"out of memory{wanted}; {what}")


def _now(option: str, data: Any) -> str:
    value = getattr(data, option, None)
    return f"--{option}, now {value}" if value else "the batch size"


# ---- a lost process

LOST = re.compile(r"gloo|NCCL|closed by peer|reset by peer|broken pipe", re.IGNORECASE)
PARENT = os.getppid()


def lost_process(error: Exception, trainer: Any, folder: Path | None) -> BaseException:
    """What ends a process whose run has lost another one, or else the error itself.

    Rank 0 tells of it; a process that it has started tells only if rank 0 is the lost one.
    """
    if trainer.world_size == 1 or not LOST.search(str(error)):
        return error
    external = "TORCHELASTIC_RUN_ID" in os.environ
    time.sleep(0.2)  # until a child is known to have ended, and an orphan for one
    if trainer.local_rank and not external and os.getppid() == PARENT:
        return SystemExit(1)
    children = getattr(trainer.strategy.launcher, "procs", [])
    codes = {rank: code for rank, child in enumerate(children, start=1) if (code := child.poll())}
    lost = "a process" if external or not trainer.local_rank else "process 0"
    lost = next((f"process {rank}" for rank in codes), lost)
    code = next((f" (exit {abs(code)})" for code in codes.values()), "")
    resume = f"; the run can be resumed with --name {folder.name} --resume" if folder else ""
    return RunError(f"{lost} of {trainer.world_size} ended{code}{resume}")


# ---- jsonargparse's errors

# jsonargparse's words, and ours where the value is part of another.
REFUSED = re.compile(
    r"Importing '([\w.]+)' is not allowed|([\w.]+)(?: is not imported|: there is no module)"
)


REQUIRED = re.compile(r"arguments are required: (\w+)")


def short_error(message: str) -> str:
    """jsonargparse's message as `--key: expected …; got …`."""
    key = re.search(r'Parser key "([^"]+)"', message)
    if refused := REFUSED.search(message):
        reason = refusal(refused[1] or refused[2])
        return f"--{key[1]}: {reason}" if key else reason
    if key is None:
        missing = REQUIRED.search(message)
        more = f"; set it, such as --net.{missing[1]}" if missing else ""
        return f"{message.strip()}{more}"
    option = f"--{key[1]}"
    if "NestedArg(" in message and (inner := re.search(r"--\w+: expected .*", message)):
        return inner[0]  # of an argument of the object that the option names
    if unknown := re.search(r"Option '\w+' is not accepted", message):
        return f"{option}: {unknown[0]}"
    if missing := REQUIRED.search(message):
        named = re.search(r"class_path='(?:\w+\.)*(\w+)'", message)
        return f"{option}: {named[1] if named else 'it'} needs {missing[1]}"
    if kind := re.search(r"Import path (\S+) does not correspond to a subclass of (\w+)", message):
        path, wanted = kind.groups()
        return f"{option}: {path} is no {wanted}; a function that makes one says so by -> {wanted}"
    if wrong := re.search(r"Problem with given class_path '(.*?)':\s*(.*)", message):
        return f"{option}: {wrong[1]} can't be used: {wrong[2]}"
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    reasons = re.findall(r"(?:Expected an? |Type \S+ |Not a valid subclass of )[^\n]*", message)
    wanted = [_expected(text) for text in reasons if not re.search(r"NoneType|a path but", text)]
    last = "something else" if value else message.splitlines()[-1].strip()
    expected = " or ".join(list(dict.fromkeys(wanted))[:3]) or last
    seen = f"; got {value[1].strip()}" if value else ""
    if value and expected.startswith("list"):
        expected = f"a list, such as [{value[1].strip()}]"
    return f"{option}: expected {expected}{seen}"[:400]


def refused_object(message: str) -> str:
    """Why an object can't be built, such as a missing package, out of jsonargparse's message."""
    if why := re.search(r"Problem with given class_path '(?:\w+\.)*(\w+)':\s*(.+)", message):
        return f"{why[1]} can't be used: {why[2]}"
    if (why := re.search(r"Union subtypes(?:.*\n)+?\s*Errors:\s*- (.+)", message)) is None:
        return message
    named = set(re.findall(r"class_path='(?:\w+\.)*(\w+)'", message))
    return f"{named.pop()}: {why[1]}" if len(named) == 1 else why[1]


def _expected(reason: str) -> str:
    """`Expected a <class 'int'>. Got value: x` -> `int`"""
    reason = re.sub(r"\.? Got value:.*", "", reason).removeprefix("Expected a ")
    reason = re.sub(r"Not a valid subclass of (\w+)", r"the class path of a \1", reason)
    reason = reason.replace("collections.abc.Sequence", "list")
    reason = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", reason)
    return re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", reason)


def argument_of(error: UserError) -> tuple[str, bool]:
    """The innermost argument that a parsing error names, and whether its class has none such."""
    unknown = re.search(r"Option '(\w+)' is not accepted", str(error))
    inner = re.match(r"--(\w+):", str(error))  # told without the option that it belongs to
    return (unknown or inner or {1: ""})[1], unknown is not None
