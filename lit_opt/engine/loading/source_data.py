"""What every data module over a `Source` does: it reads, checks, and gives loaders."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_opt.engine.errors import UserError
from lit_opt.engine.loading.checks import check_source_fits, check_split
from lit_opt.engine.loading.loader import XY, Batches, EpochSampler, LazyLoader, whole_batch
from lit_opt.engine.loading.source import Source


class SourceData(LightningDataModule):
    """A data module over one `Source`, each split of which is read once and checked.

    A subclass fills `splits` in `setup`, from `read(split)`, and gives `loader(split, …)`.

    Args:
        source: the data set.
        data_dir: folder that it is read from, or downloaded to.
        num_workers: loader processes.
    """

    def __init__(self, source: Source, data_dir: str, num_workers: int = 0) -> None:
        super().__init__()
        self.source = source
        self.data_dir = Path(data_dir).expanduser()
        self.num_workers = num_workers
        self.splits: dict[str, Batches] = {}
        self.will_test = False  # then bad test data is found before the training
        self._prepared = False
        self._feeding: LazyLoader | None = None
        self._position: dict[str, int] = {}  # of a checkpoint, for the next training loader
        self._copies: dict[int, Tensor] = {}  # on the GPU, by the id of the tensor here

    # ---- what the net must fit; the training set is read only if the source doesn't state it ----

    @cached_property
    def in_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (F,)"""
        return self.source.in_shape or tuple(self._peek()[0].shape[1:])

    @cached_property
    def num_classes(self) -> int:
        """Number of classes; of targets for regression."""
        if self.source.num_classes is not None:
            return self.source.num_classes
        if self.source.classes is None:
            y = self._peek()[1]
            if self.source.classes is None:  # an ImageFolder knows them by now
                return y.shape[1] if y.is_floating_point() else int(y.max()) + 1
        return len(self.source.classes)

    @cached_property
    def class_names(self) -> list[str] | None:
        """None for regression."""
        if self.source.classes is None and self._peek()[1].is_floating_point():
            return None
        return list(self.source.classes or map(str, range(self.num_classes)))

    def about(self) -> str:
        """`Digits, 1,294 training and 144 validation samples`, after `setup`."""
        train, val = (len(self.splits.get(split, ())) for split in ("train", "val"))
        name = type(self.source).__name__
        return f"{name}, {train:,} training and {val:,} validation samples"

    # ---- reading ----

    def prepare_data(self) -> None:
        if not self._prepared:
            self.source.download(self.data_dir)
            self._prepared = True

    def where(self, split: str) -> str:
        """`Digits 'train'`, for errors."""
        return f"{type(self.source).__name__} '{split}'"

    def read(self, split: str) -> Batches:
        """An official split; raises `UserError` with the first sample that is wrong."""
        train = split == "train"
        return self._checked(split, self._train if train else self._load(split))

    def read_own_validation(self) -> Batches | None:
        """The "val" of the source, where it has one."""
        loaded = self._load("val")
        return None if loaded is None else self._checked("val", loaded)

    def _load(self, split: str) -> XY | None:
        return self.source.load(self.data_dir, split)

    def _checked(self, split: str, loaded: XY | None) -> Batches:
        x, y = check_split(self.where(split), loaded)
        check_source_fits(self.where(split), x, y, self.in_shape, self.num_classes)
        return Batches(x, y)

    @cached_property
    def _train(self) -> XY:
        """The official training set, validation samples included."""
        return check_split(self.where("train"), self._load("train"))

    def _peek(self) -> XY:
        self.prepare_data()
        return self._train

    def share(self, other: SourceData) -> None:
        """Takes over what another instance of the same arguments has read already."""
        for key in ("_prepared", "_train", "in_shape", "num_classes"):
            if key in vars(other):
                vars(self)[key] = vars(other)[key]

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
        """A batch in the precision of the net; Lightning converts it while x is not a float yet."""
        if self.trainer is None:
            return x, y
        converted: XY = self.trainer.precision_plugin.convert_input((x, y))
        return converted

    # Lightning restores a loader's own state only if nobody has asked for the loader before.

    def state_dict(self) -> dict[str, Any]:
        return self._feeding.state_dict() if self._feeding else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict
