"""LightningCLI with short names, layered configs, one default command and a run folder."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_opt.datamodule import ImageData
from lit_opt.engine.cli.arguments import expand_flags
from lit_opt.engine.cli.callbacks_of_commands import own_callbacks, own_loggers
from lit_opt.engine.cli.config_layers import (
    checkpoint_layer,
    config_label,
    data_layer,
    parse_layers,
    run_layer,
)
from lit_opt.engine.cli.memory import full_memory_told
from lit_opt.engine.cli.messages import HelpFormatter, short_error
from lit_opt.engine.cli.options import COMMANDS, Options, split_command
from lit_opt.engine.errors import RunError, Stopped, UserError
from lit_opt.engine.lightning_private import hide_idle_hooks
from lit_opt.engine.optim.plan import Plan
from lit_opt.engine.runs.atomic_file import write_text
from lit_opt.engine.runs.checkpoint_file import LAST, load, newest_valid, resume_point, use_safe_io
from lit_opt.engine.runs.environment import record_start
from lit_opt.engine.runs.folder import new_run, probe, run_of
from lit_opt.engine.runs.kept_checkpoints import checkpoints
from lit_opt.engine.runs.lock import locked
from lit_opt.engine.runs.resume.signals import StopOnSignal
from lit_opt.engine.runs.resume.which_run import changes, is_finished, mark_finished, run_to_resume
from lit_opt.engine.runs.scores import error_line, save_scores
from lit_opt.engine.runs.slurm import nothing_unasked
from lit_opt.engine.tasks.net_check import check_loss, check_net
from lit_opt.engine.tasks.short_step import NoProfiler
from lit_opt.module import LitModule

DEFAULTS = {
    "model.net": {"class_path": "lit_opt.models.MLP"},
    "model.loss": {"class_path": "torch.nn.CrossEntropyLoss"},
    "model.optimizer": {"name": "AdamW"},
    "data.dataset": {"class_path": "lit_opt.sources.Digits"},
}
USAGE = "python train.py [command] [--option value ...]"
OF_THE_COMMAND = ("config", "name", "resume", "test", "ckpt_path")  # not of the experiment


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
        self.command, self.words = split_command(words)
        self.run: Path | None = None
        self.resumed_step: int | None = None  # of this run
        self.stop = StopOnSignal()
        self.kept: list[ModelCheckpoint] = []
        self.scores: dict[str, float] = {}
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
        parser.add_argument(
            "--ema",
            type=float | None,
            help="Decay, such as 0.999, of an exponential moving average of the weights, which is "
            "then what is validated, tested and kept. Default: none.",
        )
        parser.add_argument(
            "--compile",
            type=bool | Literal["default", "reduce-overhead", "max-autotune"],
            default=False,
            help="Compile the net with torch.compile before a fit: true, or a mode; "
            "reduce-overhead captures CUDA graphs.",
        )
        parser.set_defaults(DEFAULTS)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        if subcommand != self.command:  # each of the others would take 0.06 s
            return self.init_parser(**kwargs)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument(
                "--test",
                type=bool,
                default=False,
                help="Validate and test the best checkpoint after fit (default without a command).",
            )
            parser.add_argument(
                "--resume",
                type=bool,
                default=False,
                help="Go on with the run --name, or the one saved last, from its newest checkpoint "
                "and with its options; a --name that is not there yet is started.",
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Flag > config > checkpoint > data > default: the weaker ones are configs put before."""
        command, words = self.command, self.words
        actions = self._parser(command)._actions
        options = Options(o.lstrip("-") for a in actions for o in (a.dest, *a.option_strings))
        flags = expand_flags(words, options)
        layers: list[dict[str, Any]] = [{"test": True}] if words == args else []
        config = parse_layers(parser, command, layers, flags)
        point = Path(config.ckpt_path) if config.ckpt_path else None
        if command == "fit":
            point = self._resume_point(config, point)
        if point:
            flags = [*flags, f"--ckpt_path={point}"]
            layers.append(checkpoint_layer(point, options))
            if self.run:
                layers.append(run_layer(self.run, options, flags))
                self.resumed_step = load(point, mmap=True)["global_step"]
            config = parse_layers(parser, command, layers, flags)
        elif command != "fit":
            example = "runs/NAME/checkpoints/best.ckpt"
            raise UserError(f"{command} needs trained weights; set --ckpt_path {example}")
        self.peeked = self._build_data(config.data)
        self.implied = data_layer(self.peeked, config.model.net)
        layers.insert(0, self.implied)
        config = parse_layers(parser, command, layers, flags)
        self.config = Namespace({"subcommand": command, command: config})
        self.label = config_label(words) or config.data.dataset.class_path.split(".")[-1].lower()
        self.changes = changes(layers[-1], config.as_dict()) if point else []
        if self.run and is_finished(self.run, config.trainer):
            scores = (self.run / "metrics.json").is_file()
            where = f"; its scores are in {self.run}/metrics.json" if scores else ""
            raise Stopped(f"{self.run} is finished{where}; a larger --max_epochs would go on")

    def _resume_point(self, config: Namespace, given: Path | None) -> Path | None:
        """The checkpoint that a fit starts from; with --resume the run's own, if it has one."""
        if config.resume and not config.trainer.fast_dev_run:
            self.run = run_to_resume(Path(config.trainer.default_root_dir or "."), config.name)
            return newest_valid(self.run / "checkpoints") or given
        return resume_point(given) if given else None

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
        check_loss(self.model.loss.loss, self.datamodule.source.regression)
        check_net(self.model.net, self.datamodule.in_shape, self.datamodule.num_classes)
        _, schedulers = self.model.optimizers_for(Plan(1000, 10))
        plateau = any(isinstance(s["scheduler"], ReduceLROnPlateau) for s in schedulers)
        if plateau and not self.validates:
            raise UserError("ReduceLROnPlateau needs a validation; set --val_fraction above 0")

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:  # a value that a net, loss or callback refuses
            raise UserError(str(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        self.datamodule.share(self.peeked)
        self.validates = given.limit_val_batches != 0 and self.datamodule.has_validation
        root = Path(given.default_root_dir or ".")
        if self.subcommand != "fit":
            self.run = run_of(Path(self._get(self.config, "ckpt_path")))
        elif not given.fast_dev_run and not self.run:
            self.run = new_run(root, self.label, self._get(self.config, "name"))
        self.kept = self._kept(given)
        own = own_callbacks(str(self.subcommand), given, self.run, self._get(self.config, "ema"))
        trainer: Trainer = super().instantiate_trainer(
            callbacks=[*(given.callbacks or []), *own, *self.kept, self.stop],
            logger=own_loggers(str(self.subcommand), given, self.run, self.resumed_step),
            profiler=given.profiler or (None if given.barebones else NoProfiler()),
            default_root_dir=str(self.run or root),
        )
        use_safe_io(trainer.strategy)
        nothing_unasked(trainer, given.plugins)
        hide_idle_hooks(trainer, self.model)
        return trainer

    def _kept(self, given: Namespace) -> list[ModelCheckpoint]:
        if self.subcommand != "fit" or not self.run or given.barebones:
            return []
        if given.enable_checkpointing is False:
            return []
        self.stop.path = self.run / "checkpoints" / LAST
        return checkpoints(self.run / "checkpoints", self.model, self.validates)

    # ---- running ----

    def _run_subcommand(self, subcommand: str) -> None:
        with ExitStack() as self.held, full_memory_told(self.trainer, self.datamodule):
            super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def before_fit(self) -> None:
        if mode := self.config["fit"].compile:  # in place: the checkpoint's keys stay the same
            self.model.net.compile(mode="default" if mode is True else mode)
        self.datamodule.will_test = bool(self.config["fit"].test)
        if self.run and self.trainer.is_global_zero:
            self.held.enter_context(locked(self.run))
            probe(self.run, sum(p.nbytes for p in self.model.parameters()) if self.kept else 0)
            self.held.enter_context(_back_if_refused(self.run / "config.yaml"))
            write_text(self.run / "config.yaml", self._config_yaml())
            record_start(self.run, self.trainer, self.config["fit"].seed_everything)
        if self.config["fit"].ckpt_path:
            told = [c for c in self.changes if not c.startswith("model.")]  # those: by a callback
            self.trainer.print(", ".join([f"continuing {self.config['fit'].ckpt_path}", *told]))

    def _config_yaml(self) -> str:
        config = self.config[self.subcommand].clone()
        sizes, net = self.implied["model"]["net"]["init_args"], config.model.net
        for key in [key for key in sizes if _plain(net.init_args[key]) == sizes[key]]:
            net.init_args.pop(key)  # so that another data set brings its own
        for key in OF_THE_COMMAND:
            config.pop(key, None)
        text = self._parser(self.subcommand).dump(config, skip_none=False, skip_validation=True)
        return f"# python train.py --config {self.run}/config.yaml\n{text}"

    def after_fit(self) -> None:
        self.stop.leave_if_asked()
        if self.config["fit"].test:
            self.trainer.loggers = []  # the curves stay those of fit
            best = self.kept[0].best_model_path or None if self.kept else None
            scored = {"model": self.model, "datamodule": self.datamodule, "ckpt_path": best}
            if best is None and self.run and self.validates:
                self.trainer.print("no validation within the run: the last weights are scored")
            if self.validates:
                self.validate(**scored)
            self.test(**scored)
            if self.run and self.trainer.is_global_zero:
                save_scores(self.run / "metrics.json", self.scores)
        if self.run:
            if self.trainer.is_global_zero:
                mark_finished(self.run, self.config["fit"].trainer)
            self.trainer.print(f"run folder: {self.run}")

    def validate(self, **kwargs: Any) -> None:
        self._report("Validation", self.trainer.validate(verbose=False, **kwargs))

    def test(self, **kwargs: Any) -> None:
        self._report("Test", self.trainer.test(verbose=False, **kwargs))

    def _report(self, title: str, results: list[Mapping[str, float]]) -> None:
        for scores in filter(None, results[:1]):  # none with --limit_test_batches 0, --barebones
            self.scores |= scores
            self.trainer.print(error_line(title, scores))

    def predict(self, **kwargs: Any) -> None:
        self.trainer.predict(return_predictions=False, **kwargs)
        self.trainer.print(f"predictions: {self.run}/predictions.csv")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def _back_if_refused(path: Path) -> Iterator[None]:
    """A resume with options that can't be had leaves the run's own as they were."""
    text = path.read_text() if path.is_file() else None
    try:
        yield
    except (RunError, Stopped):
        raise
    except Exception:  # weights that don't fit the net are a RuntimeError
        if text is not None:
            write_text(path, text)
        raise
