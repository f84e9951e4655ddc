"""Nothing that a config, a checkpoint or a flag names is imported unless it is allowed."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
import torch.utils.cpp_extension  # it logs when it is first imported
from conftest import main
from digits_program import program
from sabotage import Run
from torch import nn

from lit_opt.engine.base import allowed_imports as imports
from lit_opt.module import LitModule

FOREIGN = """
from pathlib import Path
import torch, lightning.pytorch as pl
Path("imported").touch()
class Net(torch.nn.Sequential): pass
class Optimizer(torch.optim.SGD): pass
class Callback(pl.Callback): pass
def loss(outputs, labels): return torch.nn.functional.cross_entropy(outputs, labels)
"""
SHORT = ["--epochs=1", "--limit_train_batches=2", "--no_test"]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that tells when it is imported; its name is new, as what is allowed stays so."""
    name = f"foreign_{uuid4().hex}"
    Path(f"{name}.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def spoilt(trained):
    """`spoilt("loss", value)`: the flag of a checkpoint that has this hyperparameter."""
    path = trained(*SHORT) / "checkpoints/last.ckpt"

    def spoilt(key: str, value: Any) -> str:
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["hyper_parameters"][key] = value
        torch.save(checkpoint, path)
        return f"--ckpt_path={path}"

    return spoilt


def written(config: str) -> str:
    Path("config.yaml").write_text(config)
    return "--config=config.yaml"


CALLBACK = "class_path: lightning.pytorch.callbacks.LambdaCallback"
METRIC = "class_path: torchmetrics.MinMaxMetric"
NET = "class_path: torchvision.models.resnet18"
CONFIGS = ["net: {class_path: NAME.Net}", "net: !!python/object/apply:NAME.loss [1, 2]"]
CONFIGS += ["model: {net: NAME.Net}", "loss: NAME.loss", "dataset: NAME.Net"]
CONFIGS += ["optimizer: NAME.Optimizer", "optimizer: NAME:Optimizer.mro"]
CONFIGS += ["scheduler: {name: NAME.Net}"]
CONFIGS += [f"optimizer: {{{key}: NAME.Optimizer}}" for key in ("name", "class_path")]
CONFIGS += ["optimizer: {name: SGD, momentum: {class_path: NAME.Net}}"]
CONFIGS += ["callbacks: [{class_path: NAME.Callback}]", "callbacks+: [NAME.Callback]"]
CONFIGS += [f"callbacks: [{{{CALLBACK}, init_args: {{on_fit_start: NAME.loss}}}}]"]
CONFIGS += [f"metrics: {{a: {{{METRIC}, init_args: {{base_metric: NAME.Net}}}}}}"]
CONFIGS += [f"net: {{{NET}, init_args: {{norm_layer: NAME.Net}}}}"]
CONFIGS += [f"{key}: {{class_path: NAME.Net}}" for key in ("logger", "profiler", "strategy")]
FLAGS = [  # of code; what a flag names otherwise is the user's own
    "--net !!python/object/apply:NAME.loss [1, 2]",
    "--net.hidden !!python/object/apply:NAME.loss [1, 2]",
]


@pytest.mark.parametrize("given", [*CONFIGS, *FLAGS])
def test_a_foreign_path_is_refused_before_it_is_imported(fails, foreign, given):
    given = given.replace("NAME", foreign)
    words = given.split(" ", 1) if given.startswith("--") else [written(given)]
    error = fails(*words, *SHORT)
    assert foreign in error
    assert len(error.splitlines()) <= 3
    assert not Path("imported").exists()
    assert not Path("runs").exists()


NAMED = ["--net", "--loss", "--optimizer", "--metrics", "--callbacks+", "--model", "--data"]


@pytest.mark.parametrize("given", [*NAMED, "net: ", "optimizer: ", "model: ", "ckpt_path"])
def test_a_module_that_is_not_there_is_not_told_to_be_foreign(fails, spoilt, foreign, given):
    path = f"{foreign}9.Net"
    words = [given, path] if given.startswith("--") else [written(f"{given}{path}")]
    error = fails("test", spoilt("loss", path)) if given == "ckpt_path" else fails(*words)
    assert f"{path}: there is no module {foreign}9" in error
    assert error.endswith(f"did you mean {foreign}?")
    assert not Path("imported").exists()


@pytest.mark.parametrize(("key", "inner"), [("net", "class_path"), ("optimizer", "name")])
def test_a_foreign_path_in_a_checkpoint_is_refused(spoilt, fails, foreign, key, inner):
    assert foreign in fails("test", spoilt(key, {inner: f"{foreign}.Net"}))
    assert not Path("imported").exists()


class Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("called"),)


DANGEROUS = {
    "torch.utils.collect_env.run": {"command": "touch called"},
    "torch.load": {"f": "payload.pt", "weights_only": False},
    "torch.save": {"obj": 1, "f": "called"},
    "torch.hub.load": {"repo_or_dir": ".", "model": "called", "source": "local"},
    "torch.hub.download_url_to_file": {"url": "file:payload.pt", "dst": "called"},
    "torch.utils.cpp_extension.load": {"sources": ["payload.pt"]},
    "torch.nn.functional.torch.load": {"f": "payload.pt", "weights_only": False},
    "torchvision.datasets.utils.download_url": {"url": "file:payload.pt", "root": "called"},
    "torchvision.io.write_file": {"filename": "called", "data": 1},
    "lightning.pytorch.cli.instantiate_class": {"args": 1, "init": {"class_path": "os.getcwd"}},
    "lightning.pytorch.cli.LightningCLI": {"args": ["fit"]},
    "lit_opt.engine.runs.atomic_file.write_text": {"path": "called", "text": ""},
    "sklearn.datasets.load_svmlight_file": {"f": "payload.pt"},
}
# Where any callable is taken, or, of an optimizer's argument, nothing that must be built.
POSITIONS = ["loss: SPEC", "optimizer: {name: SGD, momentum: SPEC}"]
POSITIONS += [f"callbacks: [{{{CALLBACK}, init_args: {{on_fit_start: PATH}}}}]"]
POSITIONS += [f"net: {{{NET}, init_args: {{norm_layer: SPEC}}}}"]
OF_A_CLASS = ["net: SPEC", "dataset: SPEC", "callbacks: [SPEC]", "logger: SPEC", "profiler: SPEC"]
OF_A_CLASS += ["metrics: {a: SPEC}", "strategy: SPEC", "plugins: [SPEC]", "optimizer: SPEC"]
OF_A_CLASS += ["scheduler: SPEC"]
POSITIONS += [pytest.param(position, marks=pytest.mark.slow) for position in OF_A_CLASS]


@pytest.mark.parametrize("position", POSITIONS)
def test_nothing_that_just_runs_is_called_from_a_configuration(fails, position):
    torch.save(Payload(), "payload.pt")
    for path, arguments in DANGEROUS.items():
        spec = json.dumps({"class_path": path, "init_args": arguments})
        config = written(position.replace("SPEC", spec).replace("PATH", path))
        assert path.rpartition(".")[2] in fails(config, *SHORT), path
    assert not Path("called").exists()
    assert not Path("runs").exists()


def test_nothing_that_just_runs_is_called_from_a_checkpoint(spoilt, fails):
    for name, arguments in DANGEROUS.items():
        flag = spoilt("loss", {"class_path": name, "init_args": arguments})
        assert name in fails("test", flag), name
    assert not Path("called").exists()


def test_what_is_allowed_is_used(run, foreign):
    config = "loss: NAME.loss\noptimizer: NAME.Optimizer\ncallbacks: [NAME.Callback]\n"
    cli = run(written(config.replace("NAME", foreign)), f"--allow={foreign}", *SHORT)
    assert Path("imported").exists()
    assert type(cli.trainer.optimizers[0]).__name__ == "Optimizer"


FLAGS_OF_CODE = {
    "--loss=NAME.loss": ("model.loss.loss", "loss"),
    "--optimizer {name: NAME.Optimizer, momentum: 0.9}": ("trainer.optimizers.0", "Optimizer"),
    '--callbacks+={"class_path":"NAME.Callback"}': ("trainer.callbacks.1", "Callback"),
}


@pytest.mark.parametrize("flag", FLAGS_OF_CODE)
def test_what_a_flag_names_is_used(run, foreign, flag):
    done = run(*flag.replace("NAME", foreign).split(" ", 1), *SHORT)
    where, name = FLAGS_OF_CODE[flag]
    found: Any = done
    for key in where.split("."):
        found = found[int(key)] if key.isdigit() else getattr(found, key)
    assert getattr(found, "__name__", type(found).__name__) == name


def test_what_a_default_of_train_py_names_is_used(foreign):
    done = main(SHORT, defaults={**program.defaults, "loss": f"{foreign}.loss"})
    assert done.model.loss.loss.__name__ == "loss"


NO_CODE = [
    "--config=NAME.yaml",
    "-c NAME.yaml",
    "--name=NAME.x",
    "--data_dir NAME.d",
    "--data.data_dir=NAME.d",
]
NO_CODE += [
    "--dataset.path=NAME.yaml",
    "--x=./NAME.py",
    "--x=os.system",
    "--x=jsonargparse.CLI",
    "--x=folder.code",
]


def test_names_of_files_and_python_s_own_are_no_names_of_packages(foreign):
    """`--config data.yaml` must not let it import a `data.py` that came along."""
    Path(f"{foreign}.yaml").touch()
    Path("folder").mkdir()
    Path("folder/code.py").write_text("Path('imported').touch()")
    words = [word for text in NO_CODE for word in text.replace("NAME", foreign).split()]
    assert imports.packages_in_flags(words) == set()
    assert imports.packages_in_flags([f"--x={foreign}.yml"]) == {foreign}
    assert not Path("imported").exists()


def test_a_config_can_not_allow_itself(fails, foreign):
    error = fails(written(f"allow: [{foreign}]\nloss: {foreign}.loss"), *SHORT)
    assert "allow" in error
    assert not Path("imported").exists()


@pytest.mark.slow
def test_a_run_s_allowance_holds_for_its_resume_and_for_nothing_else(foreign):
    """Each in a process of its own, as what is imported once stays so."""
    short = ["--name=a", *SHORT[1:]]
    assert Run(f"--loss={foreign}.loss", "--epochs=1", *short).end()[0] == 0
    Path("imported").unlink()
    code, _, error = Run("--resume", "--epochs=2", *short).end()
    assert (code, error) == (0, "")
    Path("imported").unlink()
    config, record = Path("runs/a/config.yaml"), Path("runs/a/environment.json")
    others = [Run(f"--config={config}", "--epochs=1", "--name=b", *SHORT[1:])]
    others[0].end()
    record.write_text(json.dumps([{"allowed": ["os", "posix", "runs", "..", 1, "jsonargparse"]}]))
    others.append(Run("--resume", "--epochs=3", *short))
    for other in others:
        code, _, error = other.end()
        assert code == 2
        assert f"--allow {foreign}" in error
    assert not Path("imported").exists()


def test_train_py_allows_its_project_and_what_it_defines(foreign, monkeypatch):
    assert main([f"--loss={foreign}.loss", *SHORT], allow=[foreign]) is not None
    monkeypatch.setattr("__main__.loss", nn.functional.cross_entropy, raising=False)
    assert main(["--loss=__main__.loss", *SHORT]) is not None


def test_a_subclass_of_the_module_is_configured_like_it_and_its_package_allowed(foreign):
    mine = type("Mine", (LitModule,), {"__module__": __import__(foreign).__name__})
    cli = main([f"--loss={foreign}.loss", "--lr=0.01", *SHORT], model=mine)
    assert isinstance(cli.model, mine)
    assert cli.model.lr == 0.01
