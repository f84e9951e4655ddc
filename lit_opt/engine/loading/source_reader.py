"""A `Source` as splits that are read once and checked, and what the net must fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Classes, Regression, inferred
from lit_opt.engine.base.terminal import long_step
from lit_opt.engine.loading.balance import weighted_loss
from lit_opt.engine.loading.batches import XY, Batches
from lit_opt.engine.loading.checks import (
    as_declared,
    check_cut,
    check_source_fits,
    check_split,
    check_y,
)
from lit_opt.engine.loading.dataset_samples import DatasetSamples
from lit_opt.engine.loading.facts import Facts
from lit_opt.engine.loading.normalize import dtype_in_batch, given_moments
from lit_opt.engine.loading.seeding import own_random_numbers
from lit_opt.engine.loading.sizes import with_sizes
from lit_opt.engine.loading.source import Source
from lit_opt.engine.loading.split import split_indices
from lit_opt.engine.loading.transforms import normalizes, transform_samples


class SourceReader(LightningDataModule):
    """What is known of one `Source`: sizes, targets, names, and its splits, checked.

    Args:
        source: the data set.
        data_dir: folder that it is read from, or downloaded to.
        num_workers: loader processes.
        normalize: whether batches are normalised, besides images to [0, 1], or by what numbers.
        transforms: of training samples.
        eval_transforms: of all other samples; they decide what the net must fit.
    """

    def __init__(
        self,
        source: Source,
        data_dir: str,
        num_workers: int = 0,
        normalize: bool | str | Mapping[str, Any] = True,
        transforms: Sequence[nn.Module] | None = None,
        eval_transforms: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.data_dir = Path(data_dir).expanduser()
        self.num_workers, self.stated_moments = num_workers, given_moments(normalize)
        self.transforms, self.eval_transforms = transforms or [], eval_transforms or []
        self.normalizes = bool(normalize) and not self._transforms_normalize()
        self.splits: dict[str, Batches] = {}
        self.will_test = False  # then bad test data is found before the training
        self._prepared = False
        self._loaded: dict[str, XY | DatasetSamples | None] = {}  # as the source gave them
        self._classes: dict[str, Sequence[str] | None] = {}  # the source's names, by split
        self._sample_names: dict[str, Sequence[str] | None] = {}
        self.files: dict[str, Sequence[str] | None] = {}  # of the samples, by split
        self.kept: Facts | None = None  # classes, sizes, mean and std that stay a checkpoint's
        self.needs = "train"  # the split to look at for what the source doesn't state

    def _transforms_normalize(self) -> bool:
        normalize = [normalizes(steps) for steps in (self.transforms, self.eval_transforms)]
        if normalize[0] != normalize[1]:
            raise UserError(
                "Normalize is in --transforms or --eval_transforms alone: training and evaluation\n"
                "would see other numbers; for all splits set --normalize imagenet, or in YAML\n"
                "normalize: {mean: [...], std: [...]}"
            )
        return normalize[0]

    # ---- what the net must fit; the training set is read only if the source doesn't state it ----

    @cached_property
    def in_shape(self) -> tuple[int, ...]:
        """Of one sample in a batch, such as (C, H, W) or (F,)."""
        if self.kept and self.kept.in_shape:
            return tuple(self.kept.in_shape)
        if self.source.in_shape and not self.eval_transforms:
            return self.source.in_shape
        return tuple(self._first()[0].shape[1:])

    @cached_property
    def targets(self) -> Classes:
        """What y is, as the source declares it or the training set shows."""
        if self._declared:
            return self._declared
        y = self._peek()[1]
        return self._declared or inferred(y) or Classes()  # reading may tell

    @property
    def _declared(self) -> Classes | None:
        return self.source.targets or (Regression() if self.source.regression else None)

    @cached_property
    def num_classes(self) -> int:
        """Outputs that the net needs: classes, labels or numbers."""
        if self.kept:
            return self.kept.num_classes
        if self.source.num_classes is not None:
            return self.source.num_classes
        if self.source.classes is None:
            y = self._peek()[1]
            if (names := self._classes[self.needs]) is not None:  # an ImageFolder knows them by now
                return len(names)
            loaded: Any = self._loaded[self.needs]
            if not y.is_floating_point() and isinstance(loaded, DatasetSamples):
                y = loaded.y_of_all("a source that states no num_classes")
            return self.targets.outputs(y)
        return len(self.source.classes)

    def implied_options(self, model: dict[str, Any]) -> dict[str, Any]:
        """The sizes that the net takes, metrics, and a loss that fits, where the model has them."""
        net, implied = model.get("net"), {}
        if net is not None and "class_path" in net:
            sizes = {
                "in_shape": list(self.in_shape),
                "in_channels": self.in_shape[0],
                "in_chans": self.in_shape[0],  # timm's word
                "num_classes": self.num_classes,
            }
            implied["net"] = with_sizes(net, sizes)
        if "metrics" in model:
            implied["metrics"] = {name: {"name": name} for name in self.targets.metrics}
        if "loss" in model and self.targets.loss:
            implied["loss"] = {"class_path": self.targets.loss}
        if "loss" in model and self.hparams.get("class_weights") and self.needs == "train":
            train, own = self.read("train"), self.read_own_validation()
            y = train.y_of_all("--class_weights")[self.cut(train, own)[0]]
            implied["loss"] = weighted_loss(model["loss"], self.targets, y, self.num_classes)
        return implied

    def example(self) -> XY:
        """Two samples as batches hold them, x all 0; stated images are not read for it."""
        if len(self.in_shape) == 3 and type(self.targets) is Classes:
            return torch.zeros(2, *self.in_shape), torch.zeros(2, dtype=torch.int64)
        x, y = self._first()
        y = y if y.is_floating_point() else torch.zeros_like(y)  # classes are numbered later
        where = self.where(self.needs)
        check_source_fits(where, self.targets, tuple(x.shape[1:]), self.in_shape)
        check_y(where, self.targets, self.num_classes, None, None, "", y)
        return torch.zeros_like(x, dtype=dtype_in_batch(x)), self.as_precision(x, y)[1]

    @cached_property
    def class_names(self) -> list[str] | None:
        """Of classes or labels; None for numbers."""
        if not self.targets.named:
            return None
        return list(self._known_classes or map(str, range(self.num_classes)))

    @property
    def _known_classes(self) -> Sequence[str] | None:
        """In the order of the net's outputs; None where the source names none."""
        if self.kept:
            return self.kept.classes
        if self.source.classes is None or self._loaded:  # reading may tell them
            self._peek()
            return self._classes[self.needs]
        return self.source.classes

    def _evaluated(self, x: Tensor, y: Tensor) -> XY:
        """The first two samples as `eval_transforms` make them."""
        x, y = (values[torch.arange(2) % len(values)] for values in (x, y))
        if not self.eval_transforms:
            return x, y
        with own_random_numbers(0):
            return transform_samples(zip(x, y, strict=True), self.eval_transforms)

    def _first(self) -> XY:
        """Two samples as a batch of an evaluation has them."""
        x, y = self._peek()
        of_dataset = isinstance(self._loaded[self.needs], DatasetSamples)
        return (x, y[: len(x)]) if of_dataset else self._evaluated(x, y)

    def about(self) -> str:
        """`Digits, 1,294 training and 144 validation samples`, after `setup`."""
        train, val = (len(self.splits.get(split, ())) for split in ("train", "val"))
        name = type(self.source).__name__
        return f"{name}, {train:,} training and {val:,} validation samples"

    def cut(self, train: Batches, own: Batches | None) -> tuple[Tensor, Tensor]:
        """int64: rows of `train` to train on, and to validate with unless there are `own`.

        By the hyperparameters val_fraction and split_seed.
        """
        hp: Any = self.hparams
        fraction = 0.0 if own else hp.val_fraction
        known = train.contents[1]  # y; where it isn't, the cut is at random
        strata = torch.zeros(len(train)).long() if known is None else self.targets.strata(known)
        train_rows, val_rows = split_indices(strata, fraction, hp.split_seed)
        check_cut(fraction, len(train), len(val_rows))
        return train_rows, val_rows

    @property
    def hp(self) -> Any:
        """The hyperparameters: the arguments of `__init__`, by name."""
        return self.hparams

    @property
    def has_validation(self) -> bool:
        return self.hp.val_fraction > 0 or self.read_own_validation() is not None

    def sample_name(self, split: str, place: int) -> str:
        """Its file, if the source names its samples; else its row in the official split."""
        official = "train" if split == "val" and self._loaded.get("val") is None else split
        row, names = int(self.splits[split].rows[place]), self._sample_names.get(official)
        return str(names[row]) if names else f"{official} {row}"

    # ---- reading ----

    def prepare_data(self) -> None:
        if not self._prepared:
            with long_step(f"looking for the files of {type(self.source).__name__}"):
                self.source.download(self.data_dir)
            self._prepared = True

    def where(self, split: str) -> str:
        """`Digits 'train'`, for errors."""
        return f"{type(self.source).__name__} '{split}'"

    def read(self, split: str) -> Batches:
        """An official split; raises `UserError` with the first sample that is wrong."""
        return self._checked(split, self._load(split))

    def read_own_validation(self) -> Batches | None:
        """The "val" of the source, where it has one."""
        loaded = self._load("val")
        return None if loaded is None else self._checked("val", loaded)

    def _load(self, split: str) -> XY | DatasetSamples | None:
        if split not in self._loaded:
            with long_step(f"reading {self.where(split)}"):
                loaded: Any = self.source.load(self.data_dir, split)
            names = self.source.classes
            if loaded is not None and not isinstance(loaded, tuple | list):
                names = getattr(loaded, "classes", None) if names is None else names
                loaded = DatasetSamples(loaded, self.eval_transforms)
            self._loaded[split], self._classes[split] = loaded, names
            self._sample_names[split] = self.source.sample_names
            self.files[split] = self.source.files
        return self._loaded[split]

    def _checked(self, split: str, loaded: XY | DatasetSamples | None) -> Batches:
        """Of a data set its first samples and `targets`, and later the y of every batch."""
        where, of_dataset = self.where(split), isinstance(loaded, DatasetSamples)
        values: Any = loaded.first if isinstance(loaded, DatasetSamples) else loaded
        x, y = check_split(where, values, self.targets, self.source.nan_is_missing)
        check = self._check_of_y(split)
        y = check(y)
        shape = tuple((x if of_dataset else self._evaluated(x, y)[0]).shape[1:])
        if self.kept and not self.targets.fits_net(shape, self.in_shape):
            raise UserError(
                f"{where}: samples have shape {shape}; the checkpoint's net was "
                f"trained on {self.in_shape}\nset --dataset, --data_dir (image folders: "
                "--dataset.image_size) as they were"
            )
        check_source_fits(where, self.targets, shape, self.in_shape)
        return loaded.checked(check) if isinstance(loaded, DatasetSamples) else Batches(x, y)

    def _check_of_y(self, split: str) -> Callable[[Tensor], Tensor]:
        """Its classes are numbered by name: as the checkpoint does, or the training set."""
        whose = "the checkpoint" if self.kept else "the training set"
        names = (self._classes[split], self._known_classes) if self.targets.named else (None, None)
        return partial(check_y, self.where(split), self.targets, self.num_classes, *names, whose)

    def _peek(self) -> XY:
        """The official training set, validation samples included; of a data set its first x."""
        self.prepare_data()
        loaded = self._load(self.needs)  # it may tell what is declared
        values: Any = loaded.first if isinstance(loaded, DatasetSamples) else loaded
        where, nan = self.where(self.needs), self.source.nan_is_missing
        x, y = check_split(where, values, self._declared, nan)
        if isinstance(loaded, DatasetSamples) and loaded.y is not None:
            y = loaded.y if self._declared is None else as_declared(where, loaded.y, self._declared)
        return x, y

    def as_precision(self, x: Tensor, y: Tensor) -> XY:
        """A batch in the precision of the net; Lightning converts it while x is not a float yet.

        Integers in y become int64, however they lie in memory.
        """
        if not y.is_floating_point():
            y = y.long()
        if self.trainer is None:
            return x, y
        converted: XY = self.trainer.precision_plugin.convert_input((x, y))
        return converted

    def share(self, other: SourceReader) -> None:
        """Takes over what another instance of the same arguments has read already."""
        shared = ["_prepared", "_loaded", "_classes", "_sample_names", "files", "kept", "origin"]
        shared += ["continues", "needs", "in_shape", "num_classes", "targets"]
        vars(self).update({key: vars(other)[key] for key in shared if key in vars(other)})
        vars(self.source).update(vars(other.source))
