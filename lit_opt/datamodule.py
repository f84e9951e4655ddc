"""The data of a run: splits, three loaders, and what happens to a batch.

The batch contract: a batch is (x, y), on the device of the net, with
    x: float (B, C, H, W), normalised; for tables (B, F); tokens int64 (B, T)
    y: int64 (B,) in [0, num_classes); after MixUp or CutMix soft: float (B, num_classes);
       for regression float (B, K); for other targets as `engine/base/targets.py` says
"""

from __future__ import annotations

from torch import nn

from lit_opt.engine.lightning_private import object_arguments
from lit_opt.engine.loading.augment import mix, random_crop, random_erase, random_flip
from lit_opt.engine.loading.balance import balancing
from lit_opt.engine.loading.batches import XY
from lit_opt.engine.loading.checks import check_augmentation, check_hyperparameters
from lit_opt.engine.loading.loader import Group, LazyLoader
from lit_opt.engine.loading.source_data import SourceData
from lit_opt.sources import Digits, Source


class ImageData(SourceData):
    """Images (or tables) as batches that keep the contract above.

    Args:
        dataset: the data set: Digits (embedded, the default), MNIST, FashionMNIST, KMNIST, EMNIST,
            CIFAR10, CIFAR100, ImageFolder, ImageTable, CSV, Diabetes, or your own `Source`.
        data_dir: folder that the data set is read from, or downloaded to.
        batch_size: samples per training step, on each process.
        eval_batch_size: samples per batch in validation, test and prediction, on each process.
        val_fraction: fraction of the training set kept for validation, unless the data set has a
            validation split of its own; 0 for no validation.
        split_seed: seed of that cut; independent of the training seed.
        normalize: subtract the training split's mean and divide by its std, per channel; imagenet
            or {mean: […], std: […]} for those numbers; false for pixels in [0, 1].
        flip: mirror training images left to right with probability 1/2.
        crop_padding: pixels of zeros around training images before a random crop; 0 for none.
        erasing: probability that a random rectangle of a training image is erased.
        transforms: of torchvision.transforms.v2, for each training sample, masks with their images,
            first of all; such as `[RandAugment]`; in the loader processes, if there are any.
        eval_transforms: the same for all other samples, such as `[Resize, CenterCrop]`.
        mixup: alpha of MixUp's Beta(alpha, alpha), in training; 0 for none.
        cutmix: alpha of CutMix's Beta(alpha, alpha), in training; 0 for none.
        num_workers: loader processes; batches are one indexing, so 0 is usually fastest.
        steps_per_execution: optimizer steps that Lightning sees as one, for small nets: the weights
            are the same, callbacks and --limit_train_batches count groups of that many.
        drop_last: leave out the last batch of a training epoch where it is not full.
        class_weights: weigh the loss so that all classes count alike, the rare ones more.
        balanced: draw training samples with replacement, so that each class is as frequent.
    """

    def __init__(
        self,
        dataset: Source | None = None,
        data_dir: str = "data",
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        normalize: bool | str | dict[str, list[float]] = True,
        flip: bool = False,
        crop_padding: int = 0,
        erasing: float = 0.0,
        transforms: list[nn.Module] | None = None,
        eval_transforms: list[nn.Module] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        num_workers: int = 0,
        steps_per_execution: int = 1,
        drop_last: bool = False,
        class_weights: bool = False,
        balanced: bool = False,
    ) -> None:
        reading = data_dir, num_workers, normalize, transforms, eval_transforms
        super().__init__(dataset or Digits(), *reading)
        objects = object_arguments("dataset", "transforms", "eval_transforms")
        self.save_hyperparameters(ignore=objects)
        check_hyperparameters(self.hparams)
        self.batch_size = batch_size  # plain attributes, as callbacks may change them in a run
        self.eval_batch_size = eval_batch_size

    # ---- splits ----

    def setup(self, stage: str) -> None:
        scores = stage in ("test", "predict")
        if "train" not in self.splits and not (scores and self.knows_mean_std):
            self._cut_training_set(stage)
        if (scores or self.will_test) and "test" not in self.splits:
            self.splits["test"] = self.read("test")

    def _cut_training_set(self, stage: str) -> None:
        """Validation samples are the training set's; which ones depends on `split_seed` alone."""
        train, own = self.read("train"), self.read_own_validation()
        check_augmentation(self.where("train"), *train.first, {**self.hp, **vars(self)})
        train_rows, val_rows = self.cut(train, own)
        self.put(train, own, (train.select(train_rows), own or train.select(val_rows)), stage)

    # ---- loaders ----

    def train_dataloader(self) -> LazyLoader:
        loader = self.loader("train", self.batch_size, shuffle=True)
        loader.group = self.hp.steps_per_execution
        if self.hp.balanced:
            loader.sampler.weights = balancing(self.splits["train"], self.targets)
        if self.hp.drop_last:
            loader.sampler.drop_tail(self.batch_size)
        return loader

    def val_dataloader(self) -> LazyLoader | list[LazyLoader]:
        return self.loader("val", self.eval_batch_size) if "val" in self.splits else []

    def test_dataloader(self) -> LazyLoader:
        return self.loader("test", self.eval_batch_size)

    # ---- what happens to a batch, on the device ----

    def on_after_batch_transfer(self, batch: XY, dataloader_idx: int) -> XY:
        """x: uint8 (B, C, H, W) or float (B, F), as the source has it -> the contract above."""
        if isinstance(batch, Group):  # its batches come here one by one
            return batch
        x, y = batch
        hp, training = self.hp, self.trainer is not None and self.trainer.training
        if training and hp.flip:
            x = random_flip(x)
        if training and hp.crop_padding:
            x = random_crop(x, hp.crop_padding)
        x = self.normalizer(x)
        if training and hp.erasing:
            x = random_erase(x, hp.erasing)
        if training and (hp.mixup or hp.cutmix):
            x, y = mix(x, y, self.num_classes, hp.mixup, hp.cutmix)
        return self.as_precision(x, y)
