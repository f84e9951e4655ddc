"""What checkpoints say of the data: the one at hand, and those that will be written."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError, warn
from lit_opt.engine.base.terminal import long_step
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.dataset_samples import DatasetSamples
from lit_opt.engine.loading.facts import Cut, Facts, Pool, sample_ids
from lit_opt.engine.loading.normalize import SAMPLED, Normalize
from lit_opt.engine.loading.seeding import own_random_numbers
from lit_opt.engine.loading.source_reader import SourceReader
from lit_opt.engine.loading.transforms import transform_samples


class DataOfCheckpoints(SourceReader):
    """`facts` are those of the run's checkpoints; of the checkpoint at hand they are `kept`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.facts: Facts | None = None  # once the training set is cut
        self.origin: Facts | None = None  # whose validation samples are known again
        self.continues = False  # the run of `origin`, which other data than its own would spoil

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
        stated = self.stated_moments or not self.normalizes
        return self.kept is not None and bool(self.kept.moments or stated)

    @cached_property
    def normalizer(self) -> Normalize:
        data = self.splits["train" if "train" in self.splits else "test"]
        moments = self.stated_moments or (self.kept.moments if self.kept else None)
        with long_step("mean and standard deviation of the training samples"):
            return Normalize(
                *self._to_count(data, bool(moments)),
                self.normalizes,
                moments,
                self.source.raw_channels,
                self.source.nan_is_missing,
            )

    def _to_count(self, data: Batches, known: bool) -> tuple[Tensor, Tensor]:
        """x and rows to take mean and std from, unless they are `known`.

        Where samples aren't in memory as batches hold them, 256 stand for all, or 256 MB of them.
        """
        if not (self.eval_transforms or isinstance(data, DatasetSamples)):
            return data.x, data.rows
        size = 4 * torch.tensor(self.in_shape).prod().item()
        count = 1 if known or not self.normalizes else max(1, min(SAMPLED, int(2**28 // size)))
        rows = data.rows[:: -(-len(data) // count)]
        with own_random_numbers(0):
            x, _ = transform_samples(data.samples(rows), self.eval_transforms)
        return x, torch.arange(len(x))

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
        y = cut.train.contents[1]
        if known.classes and y is not None and y.ndim == 1:
            there = set(y.tolist())
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
        """All samples of a split, which are known again by their names or contents, if any."""
        names, x = self._sample_names[split], data.contents[0]
        unknown = x is None and names is None
        known = data.rows if x is None else x
        return Pool(data, None if unknown else sample_ids(self.where(split), known, names))

    def share(self, other: SourceReader) -> None:
        super().share(other)
        self.origin, self.continues = vars(other)["origin"], vars(other)["continues"]
