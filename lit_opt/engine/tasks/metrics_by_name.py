"""Metrics in plain words: `auroc`, `{name: f1, average: none}`, or the import path of a class.

A bare name is found as the class of torchmetrics for the data's task: `auroc` is MulticlassAUROC,
MultilabelAUROC or BinaryAUROC, `mae` is MeanAbsoluteError. `acc` is lit-opt's own accuracy.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

from torchmetrics import Metric, MetricCollection

from lit_opt.engine.base.allowed_imports import check_import
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.name_matching import comparable, nearest
from lit_opt.engine.tasks.metrics import Accuracy

HOMES = ("regression", "segmentation", "text", "wrappers", "nominal", "clustering")
ACCURACY = f"{Accuracy.__module__}.Accuracy"
ALIASES = {"acc": ACCURACY, "accuracy": ACCURACY}
ALIASES |= {"iou": "torchmetrics.JaccardIndex", "confmat": "torchmetrics.ConfusionMatrix"}
PREFIXES = {"multiclass": "Multiclass", "multilabel": "Multilabel", "binary": "Binary"}
INNER = {"metric", "base_metric"}  # arguments of wrappers that are metrics themselves
ENDINGS = ("score", "index", "error", "corrcoef", "rankcorrcoef", "distance", "wrapper", "metric")
# They average over outputs unless told otherwise, where others need the number of outputs.
OVER_OUTPUTS = ("MeanSquaredError", "MeanAbsoluteError", "NormalizedRootMeanSquaredError")


def complete_metrics(specs: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Specs as `{name: import path, argument: …}`, with what the data tells where they don't:
    `num_classes`, `num_labels`, `num_outputs`, `task`, `ignore_index`.

    Args:
        specs: By the name to log, such as `{"f1": {"name": "f1", "average": "macro"}}`.
        data: The data module, asked for `targets` and `num_classes`.

    Raises:
        UserError: for a name that no metric has.
    """
    return {name: _complete(f"--metrics.{name}", spec, data) for name, spec in specs.items()}


def _complete(flag: str, spec: Any, data: Any) -> dict[str, Any]:
    wanted, given = _parted(spec)
    wanted = wanted or flag.rpartition(".")[2]
    task = data.targets.task(data.num_classes)
    path = wanted if "." in wanted else _found(wanted, flag, task)
    cls = _class_at(path, flag)
    given |= {key: _complete(f"{flag}.{key}", given[key], data) for key in INNER & given.keys()}
    taken = inspect.signature(cls).parameters.keys() - given.keys()
    return {"name": path, **given, **_told(cls, taken, task, data)}


def _parted(spec: Any) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of `f1`, `{name: f1, …}` or `{class_path: …, init_args: …}`."""
    spec = spec.as_dict() if hasattr(spec, "as_dict") else spec  # jsonargparse's Namespace
    given: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec or {})
    given |= given.pop("init_args", None) or {}
    return str(given.pop("class_path", None) or given.pop("name", "")), given


def _told(cls: type, taken: set[str], task: str | None, data: Any) -> dict[str, Any]:
    """What the data says of those arguments of a metric that are not given."""
    sizes = {"num_classes": data.num_classes} if task == "multiclass" else {}
    if task == "multilabel":
        sizes = {"num_labels": data.num_classes}
    if task is None and data.num_classes > 1 and cls.__name__ not in OVER_OUTPUTS:
        sizes = {"num_outputs": data.num_classes}
    told: dict[str, Any] = sizes | ({"task": task} if task else {})
    if data.targets.ignore_index is not None:
        told["ignore_index"] = data.targets.ignore_index
    return {key: value for key, value in told.items() if key in taken}


def _found(wanted: str, flag: str, task: str | None) -> str:
    """The import path of the metric of a task that has a bare name."""
    if wanted.lower() in ALIASES and task:
        return ALIASES[wanted.lower()]
    known: dict[str, str] = {}
    prefix = PREFIXES.get(task or "", "")
    for path in _metrics_of(task):
        for form in _forms(path.rpartition(".")[2], prefix):
            known.setdefault(form, path)
    if comparable(wanted) in known:
        return known[comparable(wanted)]
    names = [path.rpartition(".")[2].removeprefix(prefix) for path in known.values()]
    near = nearest(wanted, [n for n in names if not n.startswith(tuple(PREFIXES.values()))])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UserError(
        f"{flag}: no metric of torchmetrics for {task or 'regression'} is called {wanted!r}"
        f"{hint}\na metric of your own is given by its import path: my_module.MyMetric"
    )


def _metrics_of(task: str | None) -> Iterator[str]:
    """Import paths of the task's own classes first."""
    if task:
        names = [name for name, _ in _classes_in("torchmetrics.classification")]
        own = [name for name in names if name.startswith(PREFIXES[task])]
        yield from (f"torchmetrics.classification.{name}" for name in [*own, *names])
    for home in HOMES:
        yield from (f"torchmetrics.{home}.{n}" for n, _ in _classes_in(f"torchmetrics.{home}"))


def _classes_in(home: str) -> Iterator[tuple[str, type]]:
    for name, value in vars(import_module(home)).items():
        if inspect.isclass(value) and issubclass(value, Metric):
            yield name, value


def _forms(name: str, prefix: str) -> Iterator[str]:
    """What finds a class: `f1score` and `f1` for MulticlassF1Score, `mae` for MeanAbsoluteError."""
    short = name.removeprefix(prefix)
    yield comparable(short)
    yield comparable(name)
    for ending in ENDINGS:
        yield comparable(short).removesuffix(ending)
    initials = "".join(re.findall("[A-Z]", short)).lower()
    if len(initials) > 2:
        yield initials


def _class_at(path: str, flag: str) -> type[Metric]:
    check_import(path, flag)
    try:
        cls = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{flag} {path} can't be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        raise UserError(f"{flag} {path} is no subclass of torchmetrics.Metric")
    return cls


def build_metrics(specs: Mapping[str, Any] | None) -> dict[str, Metric]:
    """The metrics by name: as they are, or built of complete specs. None: `acc`."""
    if specs is None:
        return {"acc": Accuracy()}
    collection = MetricCollection({})
    for name in specs:
        if name in ("", "loss") or "." in name or hasattr(collection, name):
            raise UserError(
                f"--metrics: {name!r} can't be the name of a metric; choose another one, such as\n"
                "{my_f1: {name: f1}}"
            )
    return {name: _built(f"--metrics.{name}", spec) for name, spec in specs.items()}


def _built(flag: str, spec: Any) -> Any:
    if isinstance(spec, Metric | MetricCollection):
        return spec
    path, arguments = _parted(spec)
    cls = _class_at(path, flag)
    for key in INNER & arguments.keys():
        arguments[key] = _built(f"{flag}.{key}", arguments[key])
    try:
        return cls(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(f"{flag} {cls.__name__}({shown}): {str(error).splitlines()[0]}") from error
