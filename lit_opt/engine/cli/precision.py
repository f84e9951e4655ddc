"""`--precision auto`, and what a precision costs that the processor has no instructions for."""

from typing import Any

import torch


def fast_precision(accelerator: Any) -> str:
    """`bf16-mixed` where the accelerator has instructions for it, else `32-true`."""
    named = str(accelerator).lower()
    if named in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.get_device_capability() >= (8, 0)  # Ampere and later
    else:
        apple = named in ("auto", "gpu", "mps") and torch.backends.mps.is_available()
        fast = not apple and cpu_has_bf16()
    return "bf16-mixed" if fast else "32-true"


def cpu_has_bf16() -> bool:
    """On x86 and on ARM; False for a torch that can't tell."""
    has: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def emulated(precision: str, device: torch.device) -> str | None:
    """A line that tells what a precision of 16 bits costs on a CPU that has to emulate it."""
    if device.type != "cpu" or "16" not in precision or cpu_has_bf16():
        return None
    return f"this processor emulates {precision}: 2 to 12 times as long as --precision 32-true"
