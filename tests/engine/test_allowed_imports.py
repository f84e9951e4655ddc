"""Nothing that a config, a checkpoint or a flag names is imported unless it is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
import torch.utils.cpp_extension  # it logs when it is first imported
import yaml
from conftest import main
from torch import nn

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


def written(values: dict[str, Any]) -> str:
    Path("config.yaml").write_text(yaml.safe_dump(values))
    return "--config=config.yaml"


def class_path(path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": init_args}


CALLBACK = "lightning.pytorch.callbacks.LambdaCallback"
CONFIGS: dict[str, Callable[[str], dict[str, Any]]] = {
    "net": lambda name: {"net": class_path(f"{name}.Net")},
    "net in its group": lambda name: {"model": {"net": f"{name}.Net"}},
    "function": lambda name: {"loss": f"{name}.loss"},
    "optimizer": lambda name: {"optimizer": f"{name}.Optimizer"},
    "optimizer as dict": lambda name: {"optimizer": {"name": f"{name}.Optimizer"}},
    "optimizer as class": lambda name: {"optimizer": class_path(f"{name}.Optimizer")},
    "optimizer with colon": lambda name: {"optimizer": f"{name}:Optimizer.mro"},
    "optimizer's argument": lambda name: {
        "optimizer": {"name": "SGD", "momentum": class_path(f"{name}.Net")}
    },
    "scheduler": lambda name: {"scheduler": {"name": f"{name}.Net"}},
    "data set": lambda name: {"dataset": f"{name}.Net"},
    "callback": lambda name: {"callbacks": [class_path(f"{name}.Callback")]},
    "appended callback": lambda name: {"callbacks+": [f"{name}.Callback"]},
    "function in a callback": lambda name: {
        "callbacks": [class_path(CALLBACK, on_fit_start=f"{name}.loss")]
    },
    "class in a metric": lambda name: {
        "metrics": {"a": class_path("torchmetrics.MinMaxMetric", base_metric=f"{name}.Net")}
    },
    "class in a net": lambda name: {
        "net": class_path("torchvision.models.resnet18", norm_layer=f"{name}.Net")
    },
    "logger": lambda name: {"logger": class_path(f"{name}.Net")},
    "profiler": lambda name: {"profiler": class_path(f"{name}.Net")},
    "strategy": lambda name: {"strategy": class_path(f"{name}.Net")},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_foreign_path_in_a_config_is_refused_before_it_is_imported(fails, foreign, config):
    error = fails(written(config(foreign)), *SHORT)
    assert foreign in error
    assert len(error.splitlines()) <= 3
    assert not Path("imported").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--net=NAME.Net"],
        ["--loss", "NAME.loss"],
        ["--optimizer=NAME.Optimizer"],
        ["--scheduler", "NAME.Net"],
        ["--dataset=NAME.Net"],
        ["--callbacks+=NAME.Callback"],
        ["--metrics.a=NAME.Net"],
        ["--net.help", "NAME.Net"],
        ["--net", "!!python/object/apply:NAME.loss [1, 2]"],
        ["--net.hidden", "!!python/object/apply:NAME.loss [1, 2]"],
    ],
    ids=lambda words: words[0],
)
def test_a_foreign_path_in_a_flag_is_refused_before_it_is_imported(fails, foreign, words):
    error = fails(*(word.replace("NAME", foreign) for word in words), *SHORT)
    assert len(error.splitlines()) <= 3
    assert not Path("imported").exists()


def test_python_tags_of_yaml_call_nothing(fails, foreign):
    Path("config.yaml").write_text(f"net: !!python/object/apply:{foreign}.loss [1, 2]\n")
    assert "not YAML" in fails("--config=config.yaml")
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    "hparams",
    [{"net": {"class_path": "NAME.Net"}}, {"optimizer": {"name": "NAME.Optimizer"}}],
    ids=lambda hparams: next(iter(hparams)),
)
def test_a_foreign_path_in_a_checkpoint_is_refused(run, fails, foreign, hparams):
    path = run("--name=a", *SHORT).folder / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    [(key, value)] = hparams.items()
    [(inner, place)] = value.items()
    checkpoint["hyper_parameters"][key] = {inner: place.replace("NAME", foreign)}
    torch.save(checkpoint, path)
    assert foreign in fails("test", f"--ckpt_path={path}")
    assert not Path("imported").exists()


class Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("called"),)


def test_objects_are_built_only_where_an_option_asks_for_them(fails):
    """Or any function of a trusted package could be called, such as torch.load."""
    torch.save(Payload(), "payload.pt")
    call = class_path("torch.load", f="payload.pt", weights_only=False)
    assert "torch.load" in fails(written({"optimizer": {"name": "SGD", "momentum": call}}))
    assert not Path("called").exists()


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
POSITIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "loss": lambda spec: {"loss": spec},
    "net": lambda spec: {"net": spec},
    "dataset": lambda spec: {"dataset": spec},
    "callback": lambda spec: {"callbacks": [spec]},
    "callback's function": lambda spec: {
        "callbacks": [class_path(CALLBACK, on_fit_start=spec["class_path"])]
    },
    "metric": lambda spec: {"metrics": {"a": spec}},
    "net's argument": lambda spec: {
        "net": class_path("torchvision.models.resnet18", norm_layer=spec)
    },
    "logger": lambda spec: {"logger": spec},
    "profiler": lambda spec: {"profiler": spec},
    "strategy": lambda spec: {"strategy": spec},
    "plugins": lambda spec: {"plugins": [spec]},
    "optimizer": lambda spec: {"optimizer": spec},
    "scheduler": lambda spec: {"scheduler": spec},
}


@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS)
def test_nothing_that_just_runs_is_called_from_a_configuration(fails, position):
    torch.save(Payload(), "payload.pt")
    for path, arguments in DANGEROUS.items():
        values = position({"class_path": path, "init_args": arguments})
        assert path.rpartition(".")[2] in fails(written(values), *SHORT), path
    assert not Path("called").exists()
    assert not Path("runs").exists()


def test_nothing_that_just_runs_is_called_from_a_checkpoint(run, fails):
    path = run("--name=a", *SHORT).folder / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for name, arguments in DANGEROUS.items():
        checkpoint["hyper_parameters"]["loss"] = {"class_path": name, "init_args": arguments}
        torch.save(checkpoint, path)
        assert name in fails("test", f"--ckpt_path={path}"), name
    assert not Path("called").exists()


def test_what_is_allowed_is_used(run, foreign):
    config = written(
        {
            "loss": f"{foreign}.loss",
            "optimizer": f"{foreign}.Optimizer",
            "callbacks": [f"{foreign}.Callback"],
        }
    )
    cli = run(config, f"--allow={foreign}", *SHORT)
    assert Path("imported").exists()
    assert type(cli.trainer.optimizers[0]).__name__ == "Optimizer"


def test_train_py_allows_its_project(foreign):
    cli = main([f"--loss={foreign}.loss", *SHORT], allow=[foreign])
    assert cli is not None


def test_the_packages_of_the_given_classes_are_allowed(foreign):
    module = __import__(foreign)
    mine = type("Mine", (LitModule,), {"__module__": module.__name__})
    assert main([f"--loss={foreign}.loss", *SHORT], model=mine) is not None


def test_what_the_program_itself_defines_is_allowed(monkeypatch):
    monkeypatch.setattr("__main__.loss", nn.functional.cross_entropy, raising=False)
    assert main(["--loss=__main__.loss", *SHORT]) is not None
