"""Precedence, and what the command line builds."""

from pathlib import Path

import pytest
import yaml


def test_flag_beats_config_beats_default(parse):
    Path("a.yaml").write_text("lr: 0.5\nbatch_size: 7\n")
    config = parse("--config", "a.yaml", "--lr", "0.25")
    assert config["model"]["lr"] == 0.25
    assert config["data"]["batch_size"] == 7
    assert config["data"]["eval_batch_size"] == 256


@pytest.fixture
def trained(run) -> str:
    run("--name=a", "--epochs=1", "--lr=0.5", "--optimizer=SGD", "--optimizer.momentum=0.5")
    run("--name=b", "--epochs=1", "--lr=0.01", "--batch_size=100", "--net.hidden=[32]")
    return "runs/b/checkpoints/last.ckpt"


def test_checkpoint_beats_default_and_is_beaten_by_config_and_flag(trained, parse):
    for command in (["test"], ["fit"], ["predict"], ["validate"], []):
        config = parse(*command, "--ckpt_path", trained)
        assert config["model"]["lr"] == 0.01
        assert config["data"]["batch_size"] == 100
        assert config["model"]["net"]["init_args"]["hidden"] == [32]
    Path("c.yaml").write_text("lr: 0.02\nbatch_size: 50\n")
    config = parse("fit", "--ckpt_path", trained, "--config", "c.yaml", "--batch_size", "25")
    assert config["model"]["lr"] == 0.02
    assert config["data"]["batch_size"] == 25
    assert config["model"]["net"]["init_args"]["hidden"] == [32]


def test_a_continued_fit_trains_with_the_flags_not_with_the_restored_state(trained, run, capsys):
    path = "runs/a/checkpoints/last.ckpt"
    cli = run("fit", "--ckpt_path", path, "--epochs=2", "--lr=0.05", "--optimizer.momentum=0.8")
    [group] = cli.trainer.optimizers[0].param_groups
    assert group["lr"] == pytest.approx(0.05)
    assert group["momentum"] == 0.8
    assert "lr 0.5 -> 0.05, momentum 0.5 -> 0.8" in capsys.readouterr().out


def test_test_and_predict_need_no_more_than_the_checkpoint(trained, run, capsys):
    run("test", "--ckpt_path", trained)
    assert "Test Error: acc" in capsys.readouterr().out
    run("predict", "--ckpt_path", trained)
    lines = Path("runs/b/predictions.csv").read_text().splitlines()
    assert lines[0] == "index,pred,class,prob"
    assert len(lines) == 1 + 359


def test_fit_is_followed_by_validation_and_test_only_without_a_command(run, capsys):
    run("--epochs=1", "--name=a")
    assert capsys.readouterr().out.splitlines()[-1] == "run folder: runs/a"
    assert {"metrics.json", "metrics.csv", "config.yaml"} <= {
        p.name for p in Path("runs/a").iterdir()
    }
    for words in (["fit"], ["--no_test"]):
        run(*words, "--epochs=1")
        assert "Test Error" not in capsys.readouterr().out


def test_the_saved_config_is_complete_and_gives_the_same_numbers(run, parse):
    words = ["--epochs=2", "--net.dropout=0.1", "--optimizer=SGD", "--scheduler=OneCycleLR"]
    run("--name=a", *words)
    run("--config=runs/a/config.yaml", "--name=b")
    for name in ("metrics.csv", "metrics.json"):
        assert Path("runs/a", name).read_text() == Path("runs/b", name).read_text()
    saved = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    assert parse("--config", "runs/a/config.yaml") == parse(*words)
    assert set(saved) == {"compile", "seed_everything", "ema", "trainer", "model", "data"}
    run("test", "--config=runs/a/config.yaml", "--ckpt_path=runs/a/checkpoints/best.ckpt")


def test_same_seed_same_metrics_file_another_seed_another(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(
            f"--name={name}",
            f"--seed={seed}",
            "--epochs=2",
            "--crop_padding=1",
            "--net.dropout=0.1",
        )
    a, b, c = (Path("runs", name, "metrics.csv").read_text() for name in "abc")
    assert a == b
    assert a != c


def test_the_net_follows_the_data_unless_told_otherwise(parse):
    config = parse("--dataset=CIFAR100", "--net=ResNet9")
    assert config["model"]["net"]["init_args"]["num_classes"] == 100
    config = parse("--dataset=CIFAR10")
    assert config["model"]["net"]["init_args"]["in_shape"] == [3, 32, 32]
    config = parse("--dataset=CIFAR10", "--net.num_classes=12")
    assert config["model"]["net"]["init_args"]["num_classes"] == 12
    config = parse("--net=torchvision.models.resnet18", "--dataset=CIFAR10")
    assert config["model"]["net"]["init_args"]["num_classes"] == 10


def test_without_validation_the_last_weights_are_tested(run, capsys):
    run("--epochs=1", "--val_fraction=0", "--name=a")
    assert "Validation Error" not in capsys.readouterr().out
    assert [p.name for p in Path("runs/a/checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("name", ["", "null", "~", "#1", "../x", "/tmp/x", ".x", "a/b", "a\\nb"])
def test_a_name_that_is_no_folder_s_is_refused_before_anything_is_touched(run, fails, name):
    """Also with --resume, which goes on with the newest run if there is no name."""
    run("--epochs=1", "--name=newest", "--no_test")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    for words in ([], ["--resume"]):
        assert "--name" in fails(f"--name={name}", *words)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


@pytest.mark.parametrize("name", ["007", "true", "1e3", "2026-11-25", "a b"])
def test_a_name_is_taken_to_the_letter(run, name):
    assert run(f"--name={name}", "--epochs=1", "--no_test").folder == Path("runs", name)


def test_validation_after_every_update_like_the_tutorials(run, capsys):
    run("--epochs=1", "--val_check_interval=1", "--limit_train_batches=4", "--no_test")
    assert capsys.readouterr().out.count("val/acc") == 4


def test_a_fast_dev_run_leaves_nothing_behind(run):
    run("--fast_dev_run=true")
    assert not list(Path().iterdir())


def test_a_subclass_of_the_module_is_configured_like_it(monkeypatch):
    from conftest import main

    from lit_opt.module import LitModule

    class Mine(LitModule):
        pass

    cli = main(["--epochs=1", "--lr=0.01"], model=Mine)
    assert isinstance(cli.model, Mine)
    assert cli.model.lr == 0.01
