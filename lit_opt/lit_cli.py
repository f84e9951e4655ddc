"""LightningCLI with short names, layered configs, one default command and a run folder."""

import re
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse import ActionYesNo, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from lit_opt.arguments import Options, dump, expand_flags
from lit_opt.callbacks import EpochLines, NewHyperparametersWin, StepLog, WritePredictions
from lit_opt.data import ImageData
from lit_opt.errors import UserError
from lit_opt.fit_check import check_fit
from lit_opt.help import HelpFormatter, short_error
from lit_opt.module import LitModule
from lit_opt.runs.checkpoints import checkpoints
from lit_opt.runs.curves import CSVCurves, tensorboard
from lit_opt.runs.folder import new_run, run_of
from lit_opt.runs.scores import error_line, save_scores

COMMANDS = ("fit", "validate", "test", "predict")
DEFAULTS = {
    "model.net": {"class_path": "lit_opt.models.MLP"},
    "model.loss": {"class_path": "torch.nn.CrossEntropyLoss"},
    "model.optimizer": {"name": "AdamW"},
    "data.dataset": {"class_path": "lit_opt.data.Digits"},
}
USAGE = "python train.py [command] [--option value ...]"
OF_THE_COMMAND = ("config", "name", "test", "ckpt_path")  # not of the experiment


class Parser(LightningArgumentParser):
    """Errors of one to four lines instead of the usage of a hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(short_error(message)) from ex


class LitCLI(LightningCLI):
    """Lightning's CLI, whose command may be left out: then it is fit, validate and test."""

    model: LitModule
    datamodule: ImageData

    def __init__(
        self, words: list[str], model_class: type[LitModule], data_class: type[ImageData]
    ) -> None:
        self.run: Path | None = None
        super().__init__(
            model_class,
            data_class,
            args=words,
            save_config_callback=None,
            seed_everything_default=42,
            trainer_defaults={"max_epochs": 20, "enable_model_summary": False},
            parser_class=Parser,
            parser_kwargs={"formatter_class": HelpFormatter}
            | {name: {"formatter_class": HelpFormatter, "usage": USAGE} for name in COMMANDS},
            auto_configure_optimizers=False,
        )

    # ---- options ----

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {"weights_only", "verbose", "return_predictions"}
        return {name: skip | ours for name, skip in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str | None, help="Name of the run, its folder is runs/NAME."
        )
        parser.set_defaults(DEFAULTS)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument(
                "--test",
                action=ActionYesNo(no_prefix="no_"),
                default=False,
                help="Validate and test the best checkpoint after fit (default without a command).",
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Flag > config > checkpoint > data > default: the weaker ones are configs put before."""
        command, words = split_command(args)
        actions = self._parser(command)._actions
        options = Options(o.lstrip("-") for a in actions for o in (a.dest, *a.option_strings))
        flags = expand_flags(words, options)
        config = self._parse(parser, command, [], flags)
        layers = []
        if config.ckpt_path:
            layers = [checkpoint_layer(Path(config.ckpt_path), options)]
            config = self._parse(parser, command, layers, flags)
        layers = [self._data_layer(command, config), *layers]
        self.config = Namespace(
            {"subcommand": command, command: self._parse(parser, command, layers, flags)}
        )
        self.label = config_label(words) or config.data.dataset.class_path.split(".")[-1].lower()
        if command != "fit" and not config.ckpt_path:
            raise UserError(
                f"{command} needs trained weights; set --ckpt_path runs/NAME/checkpoints/best.ckpt"
            )

    def _parse(
        self, parser: LightningArgumentParser, command: str, layers: list[Any], flags: list[str]
    ) -> Namespace:
        weaker = [f"--config={dump(layer)}" for layer in layers]
        try:
            return parser.parse_args([command, *weaker, *flags])[command]
        except UserError as error:
            unknown = re.search(r"Option '(\w+)' is not accepted", str(error))
            wrong = [f for f in flags if unknown and f.split("=")[0].endswith("." + unknown[1])]
            if not wrong:
                raise
            others = [flag for flag in flags if flag not in wrong]
            owner = self._parse(parser, command, layers, others)[wrong[0][2:].rpartition(".")[0]]
            taken = ", ".join(owner.get("init_args", Namespace()).keys()) or "no arguments"
            name = owner.class_path.rpartition(".")[2]
            raise UserError(f"unknown argument {wrong[0]}; {name} takes {taken}") from error

    def _data_layer(self, command: str, config: Namespace) -> dict[str, Any]:
        """The net's sizes, as far as it has such arguments, from the data."""
        data = self._build_data(config.data)
        sizes = {
            "in_shape": data.in_shape,
            "in_channels": data.in_shape[0],
            "num_classes": data.num_classes,
        }
        taken = {k: v for k, v in sizes.items() if k in config.model.net.get("init_args", {})}
        taken = {k: list(v) if isinstance(v, tuple) else v for k, v in taken.items()}
        return {"model": {"net": {"class_path": config.model.net.class_path, "init_args": taken}}}

    def _build_data(self, values: Namespace) -> ImageData:
        parser = LightningArgumentParser(exit_on_error=False)
        parser.add_lightning_class_args(self._datamodule_class, "data")
        data: ImageData = parser.instantiate_classes(parser.parse_object({"data": values})).data
        return data

    def _parse_ckpt_path(self) -> None:
        """Lightning would lay the checkpoint's values over the flags; see `parse_arguments`."""

    # ---- building ----

    def after_instantiate_classes(self) -> None:
        """What can be wrong is found before a run folder is made."""
        check_fit(self.model.net, self.datamodule.in_shape, self.datamodule.num_classes)
        self.model.optimizers_for(total_steps=1000, max_epochs=10)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        root = Path(given.default_root_dir or ".")
        command = self._get(self.config, "ckpt_path")
        if self.subcommand == "fit":
            if not given.fast_dev_run:
                self.run = new_run(root, self.label, self._get(self.config, "name"))
        else:
            self.run = run_of(Path(command))
        callbacks = [*(given.callbacks or []), *self._own_callbacks(given)]
        return super().instantiate_trainer(
            callbacks=callbacks,
            logger=self._loggers(given.logger),
            default_root_dir=str(self.run or root),
        )

    def _own_callbacks(self, given: Namespace) -> list[Any]:
        callbacks: list[Any] = []
        bars = [c for c in given.callbacks or [] if isinstance(c, ProgressBar)]
        if given.enable_progress_bar is not False and not bars:
            callbacks.append(EpochLines())
        if self.subcommand == "fit":
            callbacks.append(NewHyperparametersWin())
        if self.subcommand == "predict" and self.run:
            callbacks.append(WritePredictions(self.run))
        if self.subcommand == "fit" and self.run and given.enable_checkpointing is not False:
            callbacks.append(StepLog())
            self.kept = checkpoints(
                self.run / "checkpoints", self.model, given.limit_val_batches != 0
            )
            callbacks += self.kept
        return callbacks

    def _loggers(self, given: Any) -> Any:
        """`metrics.csv`, and TensorBoard events where tensorboard is installed, unless given."""
        if given not in (None, True):
            return given
        if self.subcommand != "fit" or self.run is None:
            return False
        loggers: list[Logger] = [CSVCurves(self.run), *tensorboard(self.run)]
        return loggers

    # ---- running ----

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def before_fit(self) -> None:
        if self.run and self.trainer.is_global_zero:
            self.run.mkdir(parents=True, exist_ok=True)
            (self.run / "config.yaml").write_text(self._config_yaml())

    def _config_yaml(self) -> str:
        config = self.config[self.subcommand].clone()
        for key in OF_THE_COMMAND:
            config.pop(key, None)
        text = self._parser(self.subcommand).dump(config, skip_none=False, skip_validation=True)
        return f"# python train.py --config {self.run}/config.yaml\n{text}"

    def after_fit(self) -> None:
        if self.config["fit"].test:
            scores = {**self._evaluate("validate", "Validation"), **self._evaluate("test", "Test")}
            if self.run and self.trainer.is_global_zero:
                save_scores(self.run / "metrics.json", scores)
        if self.run:
            self.trainer.print(f"run folder: {self.run}")

    def _evaluate(self, command: str, title: str) -> dict[str, float]:
        """Scores of the best checkpoint, or of the last weights where none is kept."""
        if command == "validate" and self.trainer.limit_val_batches == 0:
            return {}
        best = self.kept[0].best_model_path or None if self.run and hasattr(self, "kept") else None
        loggers, self.trainer.loggers = self.trainer.loggers, []  # the curves stay those of fit
        run = getattr(self.trainer, command)
        scores: dict[str, float] = run(
            self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False, weights_only=True
        )[0]
        self.trainer.loggers = loggers
        self.trainer.print(error_line(title, scores))
        return scores

    def validate(self, **kwargs: Any) -> None:
        self.scores = self.trainer.validate(verbose=False, **kwargs)[0]
        self.trainer.print(error_line("Validation", self.scores))

    def test(self, **kwargs: Any) -> None:
        self.scores = self.trainer.test(verbose=False, **kwargs)[0]
        self.trainer.print(error_line("Test", self.scores))

    def predict(self, **kwargs: Any) -> None:
        self.trainer.predict(return_predictions=False, **kwargs)
        self.trainer.print(f"predictions: {self.run}/predictions.csv")


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """The command and its options; without a command it is `fit --test`."""
    if not words or words[0].startswith("-"):
        return "fit", words if "--no_test" in words else ["--test", *words]
    if words[0] not in COMMANDS:
        raise UserError(f"no command {words[0]!r}; the commands are {', '.join(COMMANDS)}, or none")
    return words[0], words[1:]


def checkpoint_layer(path: Path, options: Options) -> dict[str, Any]:
    """The model's and the data's hyperparameters out of a checkpoint, as a config."""
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    layer = {}
    for group, key in (("model", "hyper_parameters"), ("data", "datamodule_hyper_parameters")):
        values = checkpoint.get(key, {})
        layer[group] = {k: v for k, v in values.items() if f"{group}.{k}" in options.names}
    return layer


def config_label(words: list[str]) -> str | None:
    """The stem of the last `--config`, after which an unnamed run is called."""
    files = [b for a, b in zip(words, words[1:], strict=False) if a in ("--config", "-c")]
    files += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    return Path(files[-1]).stem if files else None
