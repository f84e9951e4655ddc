"""The LightningDataModule: splits, loaders, and what happens to a batch on the device."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_opt.engine.errors import UserError
from lit_opt.engine.lightning_private import object_arguments
from lit_opt.engine.loading.augment import mix, random_crop, random_erase, random_flip
from lit_opt.engine.loading.checks import check_fit, check_number, check_split
from lit_opt.engine.loading.loader import (
    Batch,
    Batches,
    EpochSampler,
    LazyLoader,
    as_is,
    ignore_signals,
)
from lit_opt.engine.loading.normalize import Normalize
from lit_opt.engine.loading.split import split_indices
from lit_opt.sources import Digits, Source


class ImageData(LightningDataModule):
    """Images (or tables) as batches that keep the contract in `lit_opt/data/__init__.py`.

    Args:
        dataset: the data set: Digits (embedded, the default), MNIST, FashionMNIST, KMNIST, EMNIST,
            CIFAR10, CIFAR100, ImageFolder, Diabetes, or your own `Source`.
        data_dir: folder that the data set is read from, or downloaded to.
        batch_size: samples per training step, on each process.
        eval_batch_size: samples per batch in validation, test and prediction, on each process.
        val_fraction: fraction of the training set kept for validation, unless the data set has a
            validation split of its own; 0 for no validation.
        split_seed: seed of that cut; independent of the training seed.
        normalize: subtract the training split's mean and divide by its std, per channel;
            otherwise pixels are in [0, 1].
        flip: mirror training images left to right with probability 1/2.
        crop_padding: pixels of zeros around training images before a random crop; 0 for none.
        erasing: probability that a random rectangle of a training image is erased.
        mixup: alpha of MixUp's Beta(alpha, alpha), in training; 0 for none.
        cutmix: alpha of CutMix's Beta(alpha, alpha), in training; 0 for none.
        num_workers: loader processes; batches are one indexing, so 0 is usually fastest.
        steps_per_execution: optimizer steps that Lightning sees as one, for small nets: the weights
            are the same, callbacks and --limit_train_batches count groups of that many.
    """

    def __init__(
        self,
        dataset: Source | None = None,
        data_dir: str = "data",
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        normalize: bool = True,
        flip: bool = False,
        crop_padding: int = 0,
        erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        num_workers: int = 0,
        steps_per_execution: int = 1,
    ) -> None:
        super().__init__()
        check_number("batch_size", batch_size, 1)
        check_number("eval_batch_size", eval_batch_size, 1)
        check_number("val_fraction", val_fraction, 0, 0.999)
        check_number("crop_padding", crop_padding, 0)
        check_number("erasing", erasing, 0, 1)
        check_number("mixup", mixup, 0)
        check_number("cutmix", cutmix, 0)
        check_number("num_workers", num_workers, 0)
        check_number("steps_per_execution", steps_per_execution, 1)
        self.save_hyperparameters(ignore=object_arguments("dataset"))
        self.source = dataset or Digits()
        self.data_dir = Path(data_dir).expanduser()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.normalize = normalize
        self.flip = flip
        self.crop_padding = crop_padding
        self.erasing = erasing
        self.mixup = mixup
        self.cutmix = cutmix
        self.num_workers = num_workers
        self.steps_per_execution = steps_per_execution
        self._mixes = mixup > 0 or cutmix > 0
        self.will_test = False  # then bad test data is found before the training
        self._prepared = False
        self._splits: dict[str, Batches] = {}
        self._feeding: LazyLoader | None = None
        self._position: dict[str, int] = {}  # of a checkpoint, for the next training loader
        self._copies: dict[int, Tensor] = {}  # on the GPU, by the id of the tensor here

    # What the net must fit; reads the training set only if the source doesn't state it.

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

    @property
    def has_validation(self) -> bool:
        return self.val_fraction > 0 or self.source.load(self.data_dir, "val") is not None

    def share(self, other: ImageData) -> None:
        """What another instance of the same arguments has read already."""
        for key in ("_train", "in_shape", "num_classes"):
            if key in vars(other):
                vars(self)[key] = vars(other)[key]

    def about(self) -> str:
        """`Digits, 1,294 training and 144 validation samples`, after `setup`."""
        train, val = (len(self._splits.get(split, ())) for split in ("train", "val"))
        name = type(self.source).__name__
        return f"{name}, {train:,} training and {val:,} validation samples"

    def _peek(self) -> Batch:
        self.prepare_data()
        return self._train

    # Reading.

    def prepare_data(self) -> None:
        if not self._prepared:
            self.source.download(self.data_dir)
            self._prepared = True

    def setup(self, stage: str) -> None:
        if not self._splits:
            self._cut_training_set()  # in every stage: it tells the mean and std
        if (stage in ("test", "predict") or self.will_test) and "test" not in self._splits:
            self._splits["test"] = self._whole("test", self.source.load(self.data_dir, "test"))

    @cached_property
    def _train(self) -> Batch:
        """The official training set, validation samples included."""
        return check_split(self._where("train"), self.source.load(self.data_dir, "train"))

    def _cut_training_set(self) -> None:
        x, y = self._train
        check_fit(self._where("train"), x, y, self.in_shape, self.num_classes)
        if x.ndim == 2 and (self.flip or self.crop_padding or self.erasing or self._mixes):
            raise UserError(
                f"{self._where('train')} is a table, its samples have shape {self.in_shape};\n"
                "flip, crop_padding, erasing, mixup and cutmix need images: unset them"
            )
        rows = torch.arange(len(y))
        own_val = self.source.load(self.data_dir, "val")
        if own_val is not None:
            self._splits["val"] = self._whole("val", own_val)
        elif self.val_fraction > 0:
            rows, val_rows = split_indices(y, self.val_fraction, self.split_seed)
            if len(val_rows) == 0:
                raise UserError(
                    f"--val_fraction {self.val_fraction} of {len(y)} samples is less than one;\n"
                    "raise it, or set it to 0 for no validation"
                )
            self._splits["val"] = Batches(x, y, val_rows)
        self._splits["train"] = Batches(x, y, rows)
        self._normalizer = Normalize(x, rows, self.normalize)

    def _whole(self, split: str, loaded: Batch | None) -> Batches:
        x, y = check_split(self._where(split), loaded)
        check_fit(self._where(split), x, y, self.in_shape, self.num_classes)
        return Batches(x, y)

    def _where(self, split: str) -> str:
        return f"{type(self.source).__name__} '{split}'"

    # Loading.

    def train_dataloader(self) -> LazyLoader:
        loader = self._loader("train", self.batch_size, shuffle=True)
        loader.group = self.steps_per_execution
        if self._position:
            loader.load_state_dict(self._position)
            self._position = {}
        self._feeding = loader
        return loader

    def val_dataloader(self) -> LazyLoader | list[LazyLoader]:
        return self._loader("val", self.eval_batch_size) if "val" in self._splits else []

    def test_dataloader(self) -> LazyLoader:
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> LazyLoader:
        """The test set, in order."""
        return self.test_dataloader()

    def _loader(self, split: str, batch_size: int, shuffle: bool = False) -> LazyLoader:
        world_size, rank, device = 1, 0, torch.device("cpu")
        if self.trainer is not None:
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
            device = self.trainer.strategy.root_device
        data = self._splits[split]
        if device.type == "cuda" and self.num_workers == 0:
            data = self._on_gpu(data, device)
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by seed_everything
        return LazyLoader(
            data,
            batch_size=batch_size,
            sampler=EpochSampler(data, world_size, rank, shuffle, seed),
            collate_fn=as_is,
            num_workers=self.num_workers,
            worker_init_fn=ignore_signals,
            persistent_workers=self.num_workers > 0,
            pin_memory=device.type == "cuda" and not data.x.is_cuda,
            # Each iter() draws a number; from torch's own generator it would change dropout.
            generator=torch.Generator(),
        )

    # Lightning restores a loader's own state only if nobody has asked for the loader before.

    def state_dict(self) -> dict[str, Any]:
        return self._feeding.state_dict() if self._feeding else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict

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

    # Every step; `on_after_batch_transfer` on the device.

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        x, y = batch
        training = self.trainer is not None and self.trainer.training
        if training and self.flip:
            x = random_flip(x)
        if training and self.crop_padding:
            x = random_crop(x, self.crop_padding)
        x = self._normalizer(x)
        if training and self.erasing:
            x = random_erase(x, self.erasing)
        if training and self._mixes:
            x, y = mix(x, y, self.num_classes, self.mixup, self.cutmix)
        if self.trainer is None:
            return x, y
        # Lightning has converted the batch to half or double precision, but before x was a float.
        converted: Batch = self.trainer.precision_plugin.convert_input((x, y))
        return converted
