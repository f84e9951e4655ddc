"""What every data module over a `Source` does: it reads, checks, and gives loaders."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_opt.engine.loading.checks import check_source_fits, check_split
from lit_opt.engine.loading.loader import XY, Batches, EpochSampler, LazyLoader, whole_batch
from lit_opt.engine.loading.normalize import dtype_in_batch
from lit_opt.engine.loading.source import Source
from lit_opt.engine.targets import Classes, Regression, inferred


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
        """Of one sample, such as (C, H, W) or (F,)."""
        return self.source.in_shape or tuple(self._peek()[0].shape[1:])

    @cached_property
    def targets(self) -> Classes:
        """What y is, as the source declares it or the training set shows."""
        return self._declared or inferred(self._peek()[1]) or Classes()

    @property
    def _declared(self) -> Classes | None:
        return self.source.targets or (Regression() if self.source.regression else None)

    @cached_property
    def num_classes(self) -> int:
        """Outputs that the net needs: classes, labels or numbers."""
        if self.source.num_classes is not None:
            return self.source.num_classes
        if self.source.classes is None:
            y = self._peek()[1]
            if self.source.classes is None:  # an ImageFolder knows them by now
                return self.targets.outputs(y)
        return len(self.source.classes)

    def example(self) -> XY:
        """Two samples as batches hold them, x all 0; stated images are not read for it."""
        if len(self.in_shape) == 3 and type(self.targets) is Classes:
            return torch.zeros(2, *self.in_shape), torch.zeros(2, dtype=torch.int64)
        x, y = (values[torch.arange(2) % len(values)] for values in self._peek())
        sizes = self.in_shape, self.num_classes, self.targets
        check_source_fits(self.where("train"), x, y, *sizes)
        return torch.zeros_like(x, dtype=dtype_in_batch(x)), self.as_precision(x, y)[1]

    @cached_property
    def class_names(self) -> list[str] | None:
        """Of classes or labels; None for numbers."""
        if not self.targets.named:
            return None
        if self.source.classes is None:  # reading may tell them
            self._peek()
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
        x, y = check_split(self.where(split), loaded, self.targets)
        sizes = self.in_shape, self.num_classes, self.targets
        check_source_fits(self.where(split), x, y, *sizes)
        return Batches(x, y)

    @cached_property
    def _train(self) -> XY:
        """The official training set, validation samples included."""
        return check_split(self.where("train"), self._load("train"), self._declared)

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
        """There it is indexed without a copy a step; unless it takes over half of what is free."""
        free, _ = torch.cuda.mem_get_info(device)
        if data.x.nbytes > free // 2 and id(data.x) not in self._copies:
            return data
        for tensor in (data.x, data.y):  # splits share them
            if id(tensor) not in self._copies:
                self._copies[id(tensor)] = tensor.to(device)
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
        return self._feeding.state_dict() if self._feeding else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict
