"""What every data module over a `Source` does: it reads, checks, and gives loaders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_opt.engine.errors import UserError, warn
from lit_opt.engine.loading.balance import weighted_loss
from lit_opt.engine.loading.checks import check_cut, check_source_fits, check_split
from lit_opt.engine.loading.facts import (
    KEY,
    Cut,
    Facts,
    Pool,
    facts_from,
    renumbered,
    sample_ids,
)
from lit_opt.engine.loading.loader import XY, Batches, EpochSampler, LazyLoader, whole_batch
from lit_opt.engine.loading.normalize import Normalize, dtype_in_batch
from lit_opt.engine.loading.sizes import with_sizes
from lit_opt.engine.loading.source import Source
from lit_opt.engine.loading.split import split_indices
from lit_opt.engine.targets import Classes, Regression, inferred
from lit_opt.engine.terminal import long_step


class SourceData(LightningDataModule):
    """A data module over one `Source`, each split of which is read once and checked.

    A subclass fills `splits` in `setup`, from `read(split)` and by `put`, and gives
    `loader(split, …)`. Its checkpoints hold `facts`; those of the checkpoint at hand are `kept`,
    and hold for the data, too.

    Args:
        source: the data set.
        data_dir: folder that it is read from, or downloaded to.
        num_workers: loader processes.
        normalize: whether batches are normalised, besides images to [0, 1].
    """

    def __init__(
        self, source: Source, data_dir: str, num_workers: int = 0, normalize: bool = True
    ) -> None:
        super().__init__()
        self.source = source
        self.data_dir = Path(data_dir).expanduser()
        self.num_workers, self.normalizes = num_workers, normalize
        self.splits: dict[str, Batches] = {}
        self.will_test = False  # then bad test data is found before the training
        self._prepared = False
        self._feeding: LazyLoader | None = None
        self._position: dict[str, int] = {}  # of a checkpoint, for the next training loader
        self._copies: dict[int, Tensor] = {}  # on the GPU, by the id of the tensor here
        self._loaded: dict[str, XY | None] = {}  # official splits, as the source gave them
        self._classes: dict[str, Sequence[str] | None] = {}  # the source's names, by split
        self._sample_names: dict[str, Sequence[str] | None] = {}
        self.files: dict[str, Sequence[str] | None] = {}  # of the samples, by split
        self.facts: Facts | None = None  # once the training set is cut
        self.kept: Facts | None = None  # classes, sizes, mean and std that stay a checkpoint's
        self.origin: Facts | None = None  # whose validation samples are known again
        self.continues = False  # the run of `origin`, which other data than its own would spoil
        self.needs = "train"  # the split to look at for what the source doesn't state

    # ---- what the net must fit; the training set is read only if the source doesn't state it ----

    @cached_property
    def in_shape(self) -> tuple[int, ...]:
        """Of one sample, such as (C, H, W) or (F,)."""
        if self.kept and self.kept.in_shape:
            return tuple(self.kept.in_shape)
        return self.source.in_shape or tuple(self._peek()[0].shape[1:])

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
            if self.source.classes is None:  # an ImageFolder knows them by now
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
        if "metrics" in model and not model["metrics"]:  # none among the program's defaults
            implied["metrics"] = {name: {"name": name} for name in self.targets.metrics}
        if "loss" in model and self.targets.loss:
            implied["loss"] = {"class_path": self.targets.loss}
        if "loss" in model and self.hparams.get("class_weights") and self.needs == "train":
            train, own = self.read("train"), self.read_own_validation()
            y = train.y[self.cut(train, own)[0]]
            implied["loss"] = weighted_loss(model["loss"], self.targets, y, self.num_classes)
        return implied

    def example(self) -> XY:
        """Two samples as batches hold them, x all 0; stated images are not read for it."""
        if len(self.in_shape) == 3 and type(self.targets) is Classes:
            return torch.zeros(2, *self.in_shape), torch.zeros(2, dtype=torch.int64)
        x, y = (values[torch.arange(2) % len(values)] for values in self._peek())
        y = y if y.is_floating_point() else torch.zeros_like(y)  # classes are numbered later
        sizes = self.in_shape, self.num_classes, self.targets
        check_source_fits(self.where("train"), x, y, *sizes)
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
        train_rows, val_rows = split_indices(self.targets.strata(train.y), fraction, hp.split_seed)
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

    def _load(self, split: str) -> XY | None:
        if split not in self._loaded:
            with long_step(f"reading {self.where(split)}"):
                self._loaded[split] = self.source.load(self.data_dir, split)
            self._classes[split] = self.source.classes
            self._sample_names[split] = self.source.sample_names
            self.files[split] = self.source.files
        return self._loaded[split]

    def _checked(self, split: str, loaded: XY | None) -> Batches:
        """Its classes are numbered by name: as the checkpoint does, or the training set."""
        where, whose = self.where(split), "the checkpoint" if self.kept else "the training set"
        x, y = check_split(where, loaded, self.targets, self.source.nan_is_missing)
        if self.targets.named:
            y = renumbered(where, y, self._classes[split], self._known_classes, whose)
        if self.kept and x.shape[1:] != self.in_shape:
            raise UserError(
                f"{where}: samples have shape {tuple(x.shape[1:])}; the checkpoint's net was "
                f"trained on {self.in_shape}\nset --dataset, --data_dir (image folders: "
                "--dataset.image_size) as they were"
            )
        check_source_fits(where, x, y, self.in_shape, self.num_classes, self.targets)
        return Batches(x, y)

    def _peek(self) -> XY:
        """The official training set, validation samples included."""
        self.prepare_data()
        loaded = self._load(self.needs)  # it may tell what is declared
        return check_split(
            self.where(self.needs), loaded, self._declared, self.source.nan_is_missing
        )

    def share(self, other: SourceData) -> None:
        """Takes over what another instance of the same arguments has read already."""
        shared = ["_prepared", "_loaded", "_classes", "_sample_names", "files", "kept", "origin"]
        shared += ["continues", "needs", "in_shape", "num_classes", "targets"]
        vars(self).update({key: vars(other)[key] for key in shared if key in vars(other)})
        vars(self.source).update(vars(other.source))

    # ---- what a checkpoint says of the data ----

    def keep(self, facts: Facts, continues: bool = True, needs: str = "train") -> None:
        """Classes by their names, sizes, mean and std are now those of a checkpoint.

        Args:
            facts: The checkpoint's.
            continues: Whether it is used for what it is. Otherwise a new run starts from it, on
                data that may differ: only classes, if it knows them all, go by its order.
            needs: The split that is looked at for what neither states; "test" to score it alone.
        """
        self.needs, self.continues, self.origin = needs, continues, facts
        self.kept = facts
        if not continues:
            self.kept = None
            names, known = self._known_classes, facts.classes
            if names and known and set(names) <= set(known):
                self.kept = replace(facts, in_shape=None, mean=None, std=None)
        self.source.known_classes = self.kept.classes if self.kept else None
        if self.source.found != (found := self.kept.found if self.kept else None):
            self.source.found = found
            self._loaded.clear()
        for key in ("in_shape", "num_classes", "class_names", "normalizer"):
            vars(self).pop(key, None)

    @property
    def knows_mean_std(self) -> bool:
        """Whether they come from a checkpoint, so that a test needs no training set."""
        return self.kept is not None and bool(self.kept.moments or not self.normalizes)

    @cached_property
    def normalizer(self) -> Normalize:
        data = self.splits["train" if "train" in self.splits else "test"]
        moments = self.kept.moments if self.kept else None
        with long_step("mean and standard deviation of the training samples"):
            return Normalize(
                data.x,
                data.rows,
                self.normalizes,
                moments,
                self.source.raw_channels,
                self.source.nan_is_missing,
            )

    def put(
        self, train: Batches, own: Batches | None, parts: tuple[Batches, Batches], stage: str
    ) -> None:
        """Makes `parts` the splits "train" and "val", or those that a checkpoint asks for.

        Args:
            train: The official training set.
            own: The source's own validation set, if it has one.
            parts: What to train on, and what to validate with, which may be empty.
            stage: Of `setup`.

        Raises:
            UserError: if they are not those of the run that goes on, nor can be made so.
        """
        pools = self._pool("train", train), self._pool("val", own) if own else None
        cut = self._as_before(Cut(*pools, parts), stage)
        self.splits["train"] = cut.train
        if len(cut.val):
            self.splits["val"] = cut.val
        moments = self.normalizer.moments if self.normalizes else ()
        mean, std = (m.tolist() for m in moments) if moments else (None, None)
        named = list(self._known_classes or ()) if self.targets.named else []
        self.facts = Facts(
            classes=named or None,
            num_classes=self.num_classes,
            in_shape=list(self.in_shape),
            mean=mean,
            std=std,
            counts=cut.counts,
            fingerprint=cut.fingerprint,
            val_ids=cut.val_ids,
            found=self.source.found,
        )

    def _as_before(self, cut: Cut, stage: str) -> Cut:
        """The cut, or the one with the validation samples of `origin`, which says what changed.

        Raises:
            UserError: if a run that is continued has none of them any more.
        """
        known = self.origin
        if known is None or known.fingerprint == cut.fingerprint:
            return cut
        again = cut.again(known.val_ids)
        if again and again.fingerprint == known.fingerprint:
            return again
        before, now = (f"{c['train']} + {c['val']}" for c in (known.counts, (again or cut).counts))
        told = f"{before} training + validation samples, now {now}"
        if known.classes and cut.train.y.ndim == 1:
            there = set(cut.train.y.tolist())
            gone = [name for k, name in enumerate(self.class_names or ()) if k not in there]
            told += f", none of {', '.join(gone[:10])}" if gone else ""
        if again is None and self.continues and stage == "fit":
            raise UserError(
                f"the data is not that of the run: it had {told};\nits validation samples are not "
                "there any more, and trained-on ones must not take their place; set --data_dir,\n"
                "--val_fraction, --split_seed as they were, or start a new run: --name NEW, "
                "--ckpt_path FILE without --resume"
            )
        if stage == "fit" or again is None or len(again.val) != known.counts["val"]:
            rest = (
                "; no sample once trained on is validated"
                if again
                else ("; validated samples may be among those that it was trained on")
            )
            warn(f"the data is not that of the checkpoint: it had {told}{rest}")
        return again or cut

    def _pool(self, split: str, data: Batches) -> Pool:
        names = self._sample_names[split]
        return Pool(data, sample_ids(self.where(split), data.x, names))

    # ---- loading ----

    def loader(self, split: str, batch_size: int, shuffle: bool = False) -> LazyLoader:
        """This process's batches of `splits[split]`; the shuffled ones are those of the training.

        On a GPU the split lies there as a whole if it fits and no workers are asked for.
        """
        data, workers = self.splits[split], self.num_workers
        world_size, rank, device = 1, 0, torch.device("cpu")
        if self.trainer is not None:
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
            device = self.trainer.strategy.root_device
        if device.type == "cuda" and workers == 0:
            data = self._on_gpu(data, device)
        if len(data) < world_size:
            few = f"{len(data)} samples for {world_size} processes"
            raise UserError(f"{self.where(split)} has {few}; expected one each: lower --devices")
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by seed_everything
        loader = LazyLoader(
            data,
            batch_size=batch_size,
            sampler=EpochSampler(data, world_size, rank, shuffle, seed),
            collate_fn=whole_batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda" and not data.x.is_cuda,
            # Each iter() draws a number; from torch's own generator it would change dropout.
            generator=torch.Generator(),
        )
        if shuffle:
            self._feeding = loader
            if self._position:
                loader.load_state_dict(self._position)
                self._position = {}
        return loader

    def predict_dataloader(self) -> Any:
        """The test set, in order."""
        return self.test_dataloader()

    def _on_gpu(self, data: Batches, device: torch.device) -> Batches:
        """There it is indexed without a copy a step; all splits may take half of what is free."""
        new = [t for t in (data.x, data.y) if id(t) not in self._copies]  # splits share them
        held = sum(copy.nbytes for copy in self._copies.values())
        free, _ = torch.cuda.mem_get_info(device)
        if new and held + sum(t.nbytes for t in new) > (free + held) // 2:
            return data
        self._copies |= {id(t): t.to(device) for t in new}
        x, y = self._copies[id(data.x)], self._copies[id(data.y)]
        return Batches(x, y, data.rows.to(device))

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

    # Lightning restores a loader's own state only if nobody has asked for the loader before.

    def state_dict(self) -> dict[str, Any]:
        position = self._feeding.state_dict() if self._feeding else {}
        return {**position, KEY: vars(self.facts)} if self.facts else position

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning calls it after `setup`, which is done again if it didn't know the facts."""
        self._position = {key: value for key, value in state_dict.items() if key != KEY}
        facts = facts_from(state_dict)
        known = [known.fingerprint for known in (self.origin, self.facts) if known]
        if facts is None or facts.fingerprint in known:
            return
        self.keep(facts)
        if self.splits:
            self.splits = {}
            function = self.trainer.state.fn if self.trainer else None
            self.setup(function.value if function else "fit")
