"""Precedence, and what the command line builds."""

from pathlib import Path

import pytest
import yaml


def of(config):
    net = config["model"]["net"]["init_args"]
    return config["model"]["lr"], config["data"]["batch_size"], net["hidden"]


def test_flag_beats_config_beats_checkpoint_beats_default(trained, parse):
    words = ["--lr=0.01", "--batch_size=100", "--net.hidden=[32]"]
    last = f"--ckpt_path={trained('--epochs=1', '--no_test', *words)}/checkpoints/last.ckpt"
    for command in (["test"], ["fit"], ["predict"], ["validate"], []):
        config = parse(*command, last)
        assert of(config) == (0.01, 100, [32])
        assert config["data"]["eval_batch_size"] == 256
    Path("c.yaml").write_text("lr: 0.02\nbatch_size: 50\n")
    words = (last, "--config=c.yaml", "--batch_size=25")
    assert of(parse("fit", *words)) == (0.02, 25, [32])


def test_a_continued_fit_trains_with_the_flags_not_with_the_restored_state(trained, run, capsys):
    path = trained("--epochs=1", "--lr=0.5", "--optimizer=SGD", "--optimizer.momentum=0.5")
    path = f"--ckpt_path={path}/checkpoints/last.ckpt"
    cli = run("fit", path, "--epochs=2", "--lr=0.05", "--optimizer.momentum=0.8")
    [group] = cli.trainer.optimizers[0].param_groups
    assert group["lr"] == pytest.approx(0.05)
    assert group["momentum"] == 0.8
    assert "lr 0.5 -> 0.05, momentum 0.5 -> 0.8" in capsys.readouterr().out


def test_fit_is_followed_by_validation_and_test_only_without_a_command(run, capsys):
    run("--epochs=1", "--name=a")
    assert capsys.readouterr().out.splitlines()[-1] == "run folder: runs/a"
    for file in ("metrics.json", "metrics.csv", "config.yaml"):
        assert Path("runs/a", file).is_file()
    for words in (["fit"], ["--no_test"]):
        run(*words, "--epochs=1")
        assert "Test Error" not in capsys.readouterr().out


def test_the_saved_config_is_complete_and_with_its_seed_gives_the_same_numbers(run, parse):
    words = ["--epochs=2", "--net.dropout=0.1", "--optimizer=SGD", "--scheduler=OneCycleLR"]
    words += ["--seed=1", "--crop_padding=1"]
    run("--name=a", *words)
    run("--config=runs/a/config.yaml", "--name=b")
    run("--config=runs/a/config.yaml", "--name=c", "--seed=2")
    for file in ("metrics.csv", "metrics.json"):
        a, b, c = (Path("runs", name, file).read_text() for name in "abc")
        assert a == b
        assert a != c
    saved = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    assert parse("--config", "runs/a/config.yaml") == parse(*words)
    assert set(saved) == {
        "compile",
        "seed_everything",
        "ema",
        "save_every",
        "trainer",
        "model",
        "data",
    }
    run("test", "--config=runs/a/config.yaml", "--ckpt_path=runs/a/checkpoints/best.ckpt")


@pytest.mark.parametrize(
    ("words", "argument", "value"),
    [
        ("--dataset=CIFAR100 --net=ResNet9", "num_classes", 100),
        ("--dataset=CIFAR10", "in_shape", [3, 32, 32]),
        ("--dataset=CIFAR10 --net.num_classes=12", "num_classes", 12),
        ("--net=torchvision.models.resnet18 --dataset=CIFAR10", "num_classes", 10),
    ],
)
def test_the_net_follows_the_data_unless_told_otherwise(parse, words, argument, value):
    assert parse(*words.split())["model"]["net"]["init_args"][argument] == value


def test_without_validation_the_last_weights_are_tested(run, capsys):
    run("--epochs=1", "--val_fraction=0", "--name=a")
    assert "Validation Error" not in capsys.readouterr().out
    assert [p.name for p in Path("runs/a/checkpoints").iterdir()] == ["last.ckpt"]


def test_a_name_that_is_no_folder_s_is_refused_before_anything_is_touched(trained, fails):
    """Also with --resume, which goes on with the newest run if there is no name."""
    trained("--epochs=1", "--no_test")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    for name in ("", "null", "~", "#1", "../x", "/tmp/x", ".x", "a/b", "a\\nb"):
        assert "--name" in fails(f"--name={name}", "--resume"), name
    assert "--name" in fails("--name=")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


@pytest.mark.parametrize("name", ["007", "true", "1e3", "2026-11-25", "a b"])
def test_a_name_is_taken_to_the_letter(run, name):
    few = ["--epochs=1", "--limit_train_batches=1", "--limit_val_batches=1", "--no_test"]
    assert run(f"--name={name}", *few).folder == Path("runs", name)


def test_a_fast_dev_run_leaves_nothing_behind(run):
    run("--fast_dev_run=true")
    assert not list(Path().iterdir())
