"""What values options take, for what completes and checks them."""

from typing import Any, Literal

from lit_opt.engine.cli.options import Options

# Of options that no class has, as the parser has them.
OF_COMMANDS: dict[str, Any] = {
    "seed_everything": bool | int,
    "name": str | None,
    "ema": float | None,
    "compile": bool | Literal["default", "reduce-overhead", "max-autotune"],
    "ckpt_path": str | None,
    "save_every": int | str | None,
    "test": bool,
    "resume": bool,
    "monitor": str | None,
    "monitor_mode": Literal["min", "max"] | None,
}


def choices_of(options: Options) -> dict[str, list[str]]:
    """Names by the full name of their option; those of classes are the ones that it finds."""
    from lightning.pytorch.accelerators import AcceleratorRegistry
    from torch import optim

    from lit_opt.engine.cli.class_paths import classes_in

    found = {"trainer.accelerator": ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]}
    for name, homes in options.homes.items():
        found[name] = sorted({own for home in homes for own, _ in classes_in(home)})
    bases = {"model.optimizer": optim, "model.scheduler": optim.lr_scheduler}
    for name in bases.keys() & options.specs:
        listed, module = {*bases[name].__all__} - {"Optimizer", "LRScheduler"}, bases[name]
        found[name] = sorted(own for own in listed if isinstance(getattr(module, own), type))
    return found
