"""What TensorBoard, W&B and MLflow hold of a run, read by their own readers."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from lit_opt.engine.reports.pictures import CELL, MOST, SIDE, pictures_of
from lit_opt.engine.runs.loggers import params_of_run, plain_params

WORDS = ["--limit_train_batches=2", "--net.hidden=[8]", "--name=a", "--resume"]


def hparams_of(folder):
    """Parameters and the last values of all scalars, as TensorBoard reads them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(folder)).Reload()
    data = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = HParamsPluginData.FromString(data).session_start_info.hparams
    params = {k: v.number_value or v.string_value for k, v in info.items()}
    return params, {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_shows_parameters_and_final_scores_of_the_last_start(run):
    run(*WORDS, "--epochs=1")
    done = run(
        *WORDS,
        "--epochs=2",
        "--lr=0.01",
        "--callbacks+=EarlyStopping",
        "--callbacks.monitor=val/acc",
    )
    params, scores = hparams_of("runs/a")
    assert params["net"] == "MLP"
    assert params["net.hidden"] == "[8]"
    assert (params["lr"], params["max_epochs"], params["seed_everything"]) == (0.01, 2, 42)
    assert params["callbacks"] == "EarlyStopping"
    assert params["callbacks.EarlyStopping.monitor"] == "val/acc"
    assert not {"logger", "log_every_n_steps", "num_nodes"} & {*params}  # of nobody's interest
    final = {name: scores[f"final/{name}"] for name in done.scores}
    assert final == pytest.approx(dict(json.loads(Path("runs/a/metrics.json").read_text())))
    assert len(list(Path("runs/a").glob("*.hparams"))) == 1


def test_the_matrix_and_the_mistakes_are_images(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(*WORDS, "--epochs=1")
    outcomes = json.loads(Path("runs/a/outcomes.json").read_text())
    images = EventAccumulator(str(Path("runs/a"))).Reload()
    assert images.Tags()["images"] == ["val/confusion_matrix", "val/wrong_samples"]
    names = pictures_of(Path("runs/a"))
    matrix = np.asarray(names["val/confusion_matrix"]).astype(int)
    size = len(outcomes["matrix"])
    left = len(matrix) - CELL * size
    for i, row in enumerate(outcomes["matrix"]):
        for j, number in enumerate(row):  # its background, as the digits leave the corner free
            red = matrix[left + CELL * i + 1, left + CELL * j + 1, 0]
            assert red == round(255 - number / max(1, sum(row)) * 235)
    shown = min(MOST, len(outcomes["wrong"]))
    assert names["val/wrong_samples"].size == (6 * (SIDE + 8), -(-shown // 6) * (SIDE + 24))


def test_parameters_by_short_names():
    given = {"optimizer": {"name": "SGD", "momentum": 0.9}, "betas": (0.9, 1), "x": None}
    given["net"] = {"class_path": "a.B", "init_args": {"of": {"class_path": "c.D"}, "on": True}}
    assert plain_params(given) == {
        "optimizer": "SGD",
        "optimizer.momentum": 0.9,
        "betas": "(0.9, 1)",
        "net": "B",
        "net.of": "D",
        "net.on": True,
    }
    own = {
        "model": {"class_path": "my.Model", "init_args": {"lr": 1}},
        "trainer": {"max_epochs": 3},
    }
    assert params_of_run(own) == {"model": "Model", "lr": 1, "max_epochs": 3}


@pytest.mark.skipif(find_spec("comet_ml") is not None, reason="it is there")
@pytest.mark.parametrize("word", ["comet", "CometLogger"])
def test_a_missing_package_is_one_line_before_anything_is_written(fails, word):
    error = fails(f"--logger={word}")
    assert error.startswith("error: CometLogger can't be used: Requirement 'comet")
    assert "pip install" in error
    assert len(error.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(run, capsys):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    run(*WORDS, "--epochs=1", "--logger=mlflow")
    kept = yaml.safe_load(Path("runs/a/config.yaml").read_text())["trainer"]["logger"]
    assert kept["class_path"] == "lightning.pytorch.loggers.MLFlowLogger"
    own = [kept["init_args"][key] for key in ("run_name", "run_id", "save_dir")]
    assert own == [None, None, "./mlruns"]  # another run's would be its own
    run(*WORDS, "--epochs=2", "--lr=0.01")
    assert capsys.readouterr().err.count("MLflow keeps the parameters") == 1
    client = MlflowClient(f"file:{Path.cwd()}/runs/a/mlruns")
    [one] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert one.info.run_name == "a"
    assert one.info.status == "FINISHED"
    scores = json.loads(Path("runs/a/metrics.json").read_text())
    assert {k: v for k, v in one.data.metrics.items() if k in scores} == pytest.approx(scores)
    history = client.get_metric_history(one.info.run_id, "train/loss")
    assert {one.step for one in history} == {1, 3}
    images = {file.path for file in client.list_artifacts(one.info.run_id)}
    assert images == {"val-confusion_matrix.png", "val-wrong_samples.png"}
    assert one.data.params["lr"] == "0.001"
    assert one.data.params["net/init_args/hidden"] == "[8]"
    assert one.data.params["max_epochs"] == "1"


@pytest.mark.slow
def test_wandb_goes_on_with_the_same_run(run, monkeypatch, capsys):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids, configs = [], []
    for epochs in (1, 2):
        done = run(*WORDS, f"--epochs={epochs}", "--logger=wandb", "--logger.offline=true")
        one = done.trainer.loggers[0].experiment
        ids.append((one.id, one.name))
        configs.append(dict(one.config))
        assert {k: one.summary[k] for k in done.scores} == pytest.approx(done.scores)
        assert {"val/confusion_matrix", "val/wrong_samples"} <= {*dict(one.summary)}
        wandb.finish()
    assert "not all is logged" not in capsys.readouterr().err
    assert ids[0] == ids[1]
    assert ids[0][1] == "a"
    assert [config["max_epochs"] for config in configs] == [1, 2]
    assert configs[0]["lr"] == 0.001
    assert len(list(Path("runs/a/wandb").glob("offline-run-*"))) == 2
    assert not Path("wandb").exists()


def test_names_of_several_lines_are_drawn_in_one():
    outcomes = {
        "split": "val",
        "kind": "classes",
        "wrong": [],
        "shown": [0, 1],
        "names": ["a\nb", "c" * 9999],
    }
    Path("outcomes.json").write_text(json.dumps({**outcomes, "matrix": [[1, 0], [0, 1]]}))
    wide, _ = pictures_of(Path())["val/confusion_matrix"].size
    assert wide < 1000


def test_pictures_that_can_not_be_drawn_cost_the_run_nothing(monkeypatch, run, capsys):
    def broken(folder):
        raise ValueError("no picture")

    monkeypatch.setattr("lit_opt.engine.cli.run.pictures_of", broken)
    run(*WORDS, "--epochs=1")
    assert "not all is logged: ValueError: no picture" in capsys.readouterr().err
    assert Path("runs/a/.finished").is_file()
