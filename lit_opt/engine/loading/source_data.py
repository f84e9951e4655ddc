"""What every data module over a `Source` does: it reads, checks, and gives loaders."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.data_facts import DataOfCheckpoints
from lit_opt.engine.loading.dataset_samples import DatasetSamples
from lit_opt.engine.loading.facts import KEY, facts_from
from lit_opt.engine.loading.loader import EpochSampler, LazyLoader, whole_batch
from lit_opt.engine.loading.transforms import Transformed


class SourceData(DataOfCheckpoints):
    """A data module over one `Source`, each split of which is read once and checked.

    A subclass fills `splits` in `setup`, from `read(split)` and by `put`, and gives
    `loader(split, …)`. Its checkpoints hold `facts`; those of the checkpoint at hand are `kept`,
    and hold for the data, too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._feeding: LazyLoader | None = None
        self._position: dict[str, int] = {}  # of a checkpoint, for the next training loader
        self._copies: dict[int, Tensor] = {}  # on the GPU, by the id of the tensor here

    def loader(self, split: str, batch_size: int, shuffle: bool = False) -> LazyLoader:
        """This process's batches of `splits[split]`; the shuffled ones are those of the training.

        On a GPU the split lies there as a whole if it fits and no workers are asked for.
        """
        data, workers = self.splits[split], self.num_workers
        world_size, rank, device = 1, 0, torch.device("cpu")
        if self.trainer is not None:
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
            device = self.trainer.strategy.root_device
        of_dataset = isinstance(data, DatasetSamples)
        if device.type == "cuda" and workers == 0 and not of_dataset:
            data = self._on_gpu(data, device)
        if len(data) < world_size:
            few = f"{len(data)} samples for {world_size} processes"
            raise UserError(f"{self.where(split)} has {few}; expected one each: lower --devices")
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by seed_everything
        transforms = self.transforms if shuffle else self.eval_transforms
        changed = Transformed(data, transforms, seed) if transforms or of_dataset else None
        loader = LazyLoader(
            data if changed is None else changed,
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
