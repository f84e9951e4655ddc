"""What is written as a configuration gives the same run when it is read."""

from pathlib import Path

import pytest
from conftest import but_the_first_slow
from digits_program import program
from lightning.pytorch import callbacks, profilers, strategies

from lit_opt.engine.cli.command_line import CommandLine
from lit_opt.engine.cli.config_layers import run_layer

NEEDED = {
    "EarlyStopping": ["monitor=val/loss"],
    "GradientAccumulationScheduler": ["scheduling={0: 2}"],
    "ModelPruning": ["pruning_fn=l1_unstructured"],
    "OnExceptionCheckpoint": ["dirpath=there"],
    "StochasticWeightAveraging": ["swa_lrs=0.1"],
    "Timer": ["duration=00:01:00:00"],
}
NOT_BY_FLAGS = {"ThroughputMonitor"}  # needs a function of one's own


def round_trip(words: list[str]):
    """The configuration of flags, of its file by `--config`, and of its file by `--resume`."""
    line = CommandLine(program, ["fit", *words])
    given = line.parse()
    Path("config.yaml").write_text(line.dump(given))
    assert "Unable" not in Path("config.yaml").read_text()
    other = CommandLine(program, ["fit", "--config=config.yaml"])
    resumed = CommandLine(program, ["fit"])
    resumed.layers = [run_layer(Path(), resumed.options, [])]
    configs = [given, other.parse(), resumed.parse()]
    for config in configs:
        config.pop("config")
    return configs, other.parser.instantiate_classes(configs[1]).trainer


def test_every_callback_of_lightning_that_flags_build():
    words = []
    for name in sorted(set(callbacks.__all__) - NOT_BY_FLAGS):
        words.append(f"--callbacks+={name}")
        words += [f"--callbacks.{argument}" for argument in NEEDED.get(name, [])]
    (given, *read), built = round_trip(words)
    assert read == [given, given]
    names = [type(callback).__name__ for callback in built.callbacks]
    assert names == sorted(set(callbacks.__all__) - NOT_BY_FLAGS)


PARTS = [["--logger+=lightning.pytorch.loggers.CSVLogger", "--logger.save_dir=x"]]
PARTS += [["--callbacks+=Timer", "--callbacks.duration={days: 1}"]]
PARTS += [[f"--strategy=lightning.pytorch.strategies.{name}"] for name in strategies.__all__[:4]]
PARTS += [
    [f"--profiler=lightning.pytorch.profilers.{name}"]
    for name in profilers.__all__
    if name != "XLAProfiler"
]


@pytest.mark.parametrize("words", but_the_first_slow(PARTS, 3), ids=" ".join)
def test_parts_of_the_trainer(words):
    (given, *read), _ = round_trip(words)
    assert read == [given, given]
