"""Classes by their names: `nll` for `torch.nn.NLLLoss`, and those of older versions."""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from lit_opt.engine.base.allowed_imports import OWN, TEMPLATE
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.name_matching import comparable, nearest
from lit_opt.engine.cli.options import Options

# Where classes are now that checkpoints and configs name which are older, or of lit-opt itself.
MOVED = {
    f"{TEMPLATE}.data.": f"{OWN}.sources.",
    f"{TEMPLATE}.callbacks.": f"{OWN}.engine.callbacks.",
    f"{TEMPLATE}.metrics.": f"{OWN}.engine.tasks.metrics.",
    f"{TEMPLATE}.": f"{OWN}.",
}


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
