"""What the engine asks of a model and of data beyond Lightning's classes; all of it is optional.

A LightningModule or LightningDataModule that has a name of these is asked, any other gets what
stands here. LitModule in `module.py` and ImageData in `datamodule.py` are examples.
"""

from typing import Any, cast


class ModelInterface:
    """Of a LightningModule.

    `net`, an nn.Module, is what `--compile` compiles and whose size is told.
    """

    net: Any = None

    def best_by(self) -> tuple[str | None, str | None]:
        """The validation metric that selects the best checkpoint, and "min" or "max".

        None leaves it to `--monitor`, or to the loss that is logged in the first validation.
        """
        return None, None

    def check(self, data: Any) -> None:
        """Raises `UserError` if it can't be trained on `data`, before anything is written."""


class DataInterface:
    """Of a LightningDataModule.

    `batch_size` and `eval_batch_size` are named where memory is full; `has_validation` is False
    where there are no samples to validate on; `will_test` is set to whether a test follows.
    """

    batch_size = eval_batch_size = None
    has_validation = True
    will_test = False

    def implied_options(self, model: Any) -> dict[str, Any]:
        """Options of the model that the data implies, weaker than all that is given.

        Args:
            model: The options of the model as they are given, a nested mapping.
        """
        return {}

    def keep(self, facts: Any, continues: bool, needs: str) -> None:
        """Told what a checkpoint says of its data: see `loading/facts.py`."""

    def about(self) -> str:
        """What the first line of a fit says of the data."""
        return ""

    def sample_name(self, split: str, place: int) -> str:
        """What the report calls a sample, by its place in "val" or "test"."""
        return str(place)

    def share(self, other: Any) -> None:
        """Takes over what another instance of the same arguments has read already."""


class _Asked:
    def __init__(self, owner: Any, interface: type) -> None:
        self._owner, self._interface = owner, interface

    def __getattr__(self, name: str) -> Any:
        default = getattr(self._interface(), name)
        return getattr(self._owner, name, default)


def model_of(module: Any) -> ModelInterface:
    """The interface of a LightningModule."""
    return cast(ModelInterface, _Asked(module, ModelInterface))


def data_of(data: Any) -> DataInterface:
    """The interface of a LightningDataModule, or of None where the module has the loaders."""
    return cast(DataInterface, _Asked(data, DataInterface))
