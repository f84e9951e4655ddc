"""`--precision auto`, and what a precision costs that the processor has no instructions for."""

from typing import Any

import torch

# Instructions for bfloat16 in the words of `torch.cpu.get_capabilities()`, on x86 and on ARM.
BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def fast_precision(accelerator: Any) -> str:
    """`bf16-mixed` where the accelerator has instructions for it, else `32-true`."""
    named = str(accelerator).lower()
    if named in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.get_device_capability() >= (8, 0)  # Ampere and later
    elif named in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        fast = False
    else:
        fast = cpu_has_bf16()
    return "bf16-mixed" if fast else "32-true"


def cpu_has_bf16() -> bool:
    """False for a torch that can't tell."""
    tell = getattr(torch.cpu, "get_capabilities", dict)
    return torch.backends.mkldnn.is_available() and any(map(tell().get, BF16))


def emulated(precision: str, device: torch.device) -> str | None:
    """A line that tells what a precision of 16 bits costs on a CPU that has to emulate it."""
    if device.type != "cpu" or "16" not in precision or cpu_has_bf16():
        return None
    return (
        f"this processor emulates {precision}, at 2 to 12 times the time of --precision 32-true; "
        "--precision auto chooses"
    )
