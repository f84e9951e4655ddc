"""What `train.py` prints and exits with."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import main

from lit_opt.engine.cli.options import COMMANDS
from lit_opt.engine.cli.overview import OVERVIEW
from lit_opt.engine.cli.verbs import VERBS, VERBS_OF_PROGRAM
from lit_opt.sources import Digits


class Deep(torch.nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()


class Plain(torch.nn.Module):
    """Nothing to set."""

    def __init__(self) -> None:
        super().__init__()


def made(num_classes):
    return torch.nn.Linear(1, num_classes)


class Own(torch.nn.Linear):
    def __init__(self, in_channels: int, wide: int = 3) -> None:
        super().__init__(in_channels, wide)


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out.split(", ")[1].startswith("lightning 2.")


def test_the_overview_says_which_files_predict_writes():
    told = OVERVIEW.partition("\n  predict ")[2].partition("\n  compare ")[0]
    assert "predictions.csv, .npy, .txt or .pt" in told


def test_every_option_of_the_overview_exists_and_its_default_is_shown(parse):
    config = parse(
        *("--name=a", "--no_test", "--seed=1", "--epochs=1", "--accelerator=cpu", "--devices=1"),
        *("--precision=32-true", "--net=MLP", "--loss=mse", "--optimizer=SGD", "--lr=0.1"),
        *("--scheduler=StepLR", "--scheduler.step_size=1", "--warmup=0.1", "--dataset=Digits"),
        *("--data_dir=data", "--batch_size=8", "--callbacks+=HalveWhenStuck"),
        *("--resume", "--compile", "--ema=0.9", "--allow=pandas"),
    )
    assert config["model"]["scheduler"] == {"name": "StepLR", "step_size": 1}
    lines = [line for line in OVERVIEW.splitlines() if line.startswith("  --")]
    assert len({line.split()[0].partition("=")[0].rstrip("+") for line in lines}) == 30
    defaults = parse()
    model, data = defaults["model"], defaults["data"]
    shown = {
        "--epochs": defaults["trainer"]["max_epochs"],
        "--seed": defaults["seed_everything"],
        "--lr": model["lr"],
        "--batch_size": data["batch_size"],
        "--data_dir": data["data_dir"],
        "--optimizer": model["optimizer"]["name"],
        "--warmup": f"{model['warmup']:g}",
    }
    for option, value in shown.items():
        [line] = [line for line in lines if line.startswith(f"  {option} ")]
        assert f" {value}" in line


@pytest.fixture
def shown(capsys):
    """What a command line prints that ends well without a run."""

    def shown(*words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        assert caught.value.code == 0
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize(
    ("words", "has", "has_not"),
    [
        ("fit --help", "python train.py [command]", "--trainer.accelerator"),
        ("--help lr", "--lr, --model.lr LR", "--accelerator"),
        ("fit --help --warmup", "--warmup, --model.warmup", "--lr, "),
        ("--help trainer", "--accelerator, --trainer.accelerator", "--lr, --model.lr"),
        ("test --help data", "--flip, --data.flip", "known subclasses"),
        ("--help CSV", "--data.dataset.max_categories", "usage"),
        ("fit --help early_stopping", "--trainer.callbacks.patience", "--lr"),
        ("--help test_main.Own", "--model.net.wide", "--lr"),
        ("--help Digits", "Digits takes no arguments", "--lr"),
        ("--help Source", "Source takes no arguments", "--lr"),
        ("--help test_main.Plain", "Nothing to set.\nPlain takes no arguments", "--lr"),
        ("--help net.hidden", "--model.net.hidden", "--model.net.dropout"),
        ("--dataset CSV --help dataset.target", "--data.dataset.target", "--data.dataset.drop"),
        ("--help optimizer.momentum", "--optimizer, --model.optimizer", "--lr"),
        *[
            (f"--help {command}", "usage: python train.py [command]", "--trainer")
            for command in COMMANDS
        ],
        ("--model test_main.M --data=test_main.D --help", "--help model and --help data", "--lr,"),
        ("--help all", "--lr, --model.lr LR", "known subclasses"),
    ],
)
def test_help_is_a_screen_or_a_topic_with_short_names(capsys, words, has, has_not):
    main(words.split())
    text = capsys.readouterr().out
    assert has in text
    assert has_not not in text
    with pytest.raises(SystemExit):
        main(["--help", "lrr"])
    assert "did you mean --lr?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [*VERBS, *VERBS_OF_PROGRAM])
def test_help_of_another_command_is_what_it_says_itself(shown_by, verb):
    assert shown_by("--help", verb) == shown_by(verb, "--help")


@pytest.fixture
def shown_by(capsys):
    """What a command line prints that ends well, by itself or not."""

    def shown_by(*words: str) -> str:
        main([*words])
        return capsys.readouterr().out

    return shown_by


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("NextToken", "is given by its import path: --help my_module.NextToken"),
        ("theirs.Net", "theirs.Net: there is no module theirs"),
        ("net.hiddenn", "unknown option --net.hiddenn; --help lit_opt.models.MLP lists"),
        ("trainer.acelerator", "did you mean --trainer.accelerator?"),
    ],
)
def test_a_topic_that_is_none_is_told(fails, topic, told):
    assert told in fails("--help", topic)


def test_print_config_prints_a_config_that_runs(shown, parse):
    Path("printed.yaml").write_text(shown("--lr=0.5", "--print_config"))
    assert parse("--config=printed.yaml")["model"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--optimzer", "Adam"], "--optimizer"),
        (["--optimizer", "Adamm"], "Adam"),
        (["--optimizer.momentun", "0.9", "--optimizer", "SGD"], "momentum"),
        (["--optimizer.lr", "0.9"], "--lr"),
        (["--scheduler", "StepLR"], "--scheduler.step_size"),
        (["--scheduler", "Cosine"], "CosineAnnealingLR"),
        (["--lr", "fast"], "float"),
        (["--batch_size", "0"], "--batch_size"),
        (["--batch_size", "1.5"], "int"),
        (["--precision", "17"], "bf16-mixed"),
        (["--net", "ConvNett"], "ConvNet"),
        (["--seed", "-1"], "--seed"),
        (["--config", "latin.yaml"], "latin.yaml is not text in UTF-8"),
        (["--config", "utf16.yaml"], "utf16.yaml is not text in UTF-8"),
        (["--config", "folder"], "there is no file folder"),
        (["--ckpt_path", "folder"], "there is no file folder"),
        (["--default_root_dir", "list.yaml"], "--default_root_dir"),
        (["--dataset=FashionMNIST", "--data_dir=list.yaml"], "list.yaml"),
        (["--lr", "-1"], "learning rate"),
        (["--optimizer.betas", "[2, 0.9]"], "beta"),
        (["--max_epochs", "-5"], "max_epochs"),
        (["--devices", "0"], "devices"),
        (["--devices", "-2"], "devices"),
        (["--devices", "99999"], "--devices 99999 are too many"),
        (["--num_workers", "99999"], "--num_workers 99999 are too many"),
        (["--num_nodes", "0"], "num_nodes"),
        (["--strategy", "nope"], "nope"),
        (["--accelerator", "nope"], "nope"),
        (["--accumulate_grad_batches", "0"], "--accumulate_grad_batches is 0"),
        (["--check_val_every_n_epoch", "0"], "--check_val_every_n_epoch is 0"),
        (["--val_check_interval", "0"], "--val_check_interval is 0"),
        (["--gradient_clip_val", "-1"], "--gradient_clip_val is -1"),
        (["--loss.label_smoothing", "5"], "label_smoothing"),
        (["--loss.weight", "[1, 2]"], "weight"),
        (["--optimizer=SGD", "--optimizer.momentum=-1"], "momentum"),
        (["--net.hiddenn", "3"], "hidden"),
        (["--net.num_classes", "12"], "--net.num_classes 10"),
        (["--net", "torchvision.models.resnet18"], "(1, 8, 8)"),
        (["--loss", "nl"], "NLLLoss"),
        (["--loss", "TripletMarginLoss"], "--loss"),
        (["--dataset", "FashionMNST"], "FashionMNIST"),
        (["--dataset", "ImageFolder"], "--data_dir"),
        (["--callbacks+=EarlyStoping"], "EarlyStopping"),
        (["--callbacks+=EarlyStopping"], "EarlyStopping needs monitor"),
        (["--callbacks+=HalveWhenStuck", "--callbacks.monitr=a"], "patience"),
        (["--loss.label_smooth", "0.1"], "label_smoothing"),
        (["--dataset=ImageFolder", "--dataset.imagesize=8"], "image_size"),
        (["--dataset", "theirs.Nope"], "no module theirs"),
        (["--dataset", "os.path.join"], "torchvision"),
        (["--allow=mine", "--dataset", "mine.Nope"], "No module named 'mine'"),
        (["--allow", "my-package"], "my_package"),
        (["--config", "allow.yaml"], "unknown key allow"),
        (["--net", "!!python/object/apply:os.system [ls]"], "not YAML"),
        (["--metrics", "aurocc"], "AUROC"),
        (["--metrics", "[r2]"], "r2, R2Score, does not take outputs (2, 10)"),
        (["--metrics", "[binary_auroc]"], "one output"),
        (["--metrics", "[f1, f1]"], "f1_2"),
        (["--metrics.f1.averge", "none"], "averge"),
        (["--metrics.f1", "torch.nn.Linear"], "no subclass of torchmetrics.Metric"),
        (["--metrics", "theirs.Metric"], "no module theirs"),
        (["--dataset=Diabetes", "--metrics=auroc"], "regression"),
        (["--net.hidden", "32"], "--model.net.hidden"),
        (["--net.dropout", "2"], "between 0 and 1"),
        (["--lr"], "--lr needs a value"),
        (["--net=test_main.Deep"], "--net.depth"),
        (["--net=test_main.made"], "a function that makes one says so by -> Module"),
        (["--epochs", "--flip"], "--epochs needs a value"),
        (["--dataset=ImageFolder", "--dataset.skip_broken"], "a switch takes true or false"),
        (
            ["--dataset=CSV", "--dataset.drop", "my id"],
            "--data.dataset.drop: expected a list, such",
        ),
        (["--transforms", "RandAugment"], "such as [torchvision.transforms.v2.RandAugment]"),
        (["--logger", "TensorBoardLogger"], "needs save_dir"),
        (["--dataset=Diabetes", "--loss=cross_entropy"], "--loss MSELoss"),
        (["--scheduler=ReduceLROnPlateau", "--val_fraction=0"], "--val_fraction"),
        (["--scheduler=ReduceLROnPlateau", "--scheduler_interval=step"], "--scheduler_interval"),
        (["--monitor", "val/accc"], "val/acc"),
        (["--monitor", "test/acc"], "val/acc"),
        (["--callbacks+=EarlyStopping", "--callbacks.monitor=val/accc"], "EarlyStopping's monitor"),
        (["--warmup", "2"], "--warmup"),
        (["--config", "nope.yaml"], "nope.yaml"),
        (["--config", "broken.yaml"], "broken.yaml is not YAML"),
        (["--config", "unknown.yaml"], "max_epochs"),
        (["--config", "list.yaml"], "list.yaml"),
        (["teste"], "test"),
        (["test"], "--ckpt_path"),
        (["test", "--ckpt_path", "nope.ckpt"], "nope.ckpt"),
        (["test", "--ckpt_path", "broken.yaml"], "broken.yaml"),
        (["stray", "word"], "stray"),
        (["--lr", "0.1", "stray"], "stray"),
    ],
)
def test_mistakes_are_told_in_four_lines_and_exit_with_2(fails, words, named):
    files = {"broken": "lr: [0.1", "unknown": "trainer: {max_epoch: 3}", "list": "- 1"}
    for name, text in {**files, "allow": "allow: [theirs]"}.items():
        Path(f"{name}.yaml").write_text(f"{text}\n")
    for name, code in (("latin", "latin-1"), ("utf16", "utf-16")):
        Path(f"{name}.yaml").write_text("name: é", code)
    Path("folder").mkdir()
    assert named in fails(*words)
    assert not Path("runs").exists() or "monitor" in str(words) or "data_dir" in str(words)


@pytest.mark.skipif(find_spec("wandb") is not None, reason="it is there")
@pytest.mark.parametrize("flag", ["--logger", "--logger+"])
def test_a_logger_whose_package_is_missing_is_told_in_one_line(fails, flag):
    error = fails(f"{flag}=WandbLogger")
    assert error.startswith("error: WandbLogger can't be used: Requirement 'wandb")
    assert "pip install" in error
    assert len(error.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_a_usage_error(fails):
    assert "there is no GPU" in fails("--accelerator", "gpu")


def test_a_failed_run_exits_with_1_and_names_the_exception(fails, monkeypatch):
    def broken(self, x):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("lit_opt.module.LitModule.forward", broken)
    place = f"in {__file__}, line {broken.__code__.co_firstlineno + 1}, broken"
    assert fails(code=1).splitlines() == [
        "error: RuntimeError: out of luck",
        place,
        "--debug shows the traceback",
    ]
    with pytest.raises(RuntimeError, match="out of luck"):
        main(["--debug"])


def test_weights_that_do_not_fit_the_net_are_a_usage_error(trained, fails):
    trained("--epochs=1", "--no_test")
    error = fails("test", "--ckpt_path=runs/a/checkpoints/last.ckpt", "--net.hidden=[32]")
    assert "--net" in error
    assert "size mismatch" in error


def test_bad_test_data_is_told_before_the_training(fails, monkeypatch, capsys):
    def load(self, data_dir, split, original=Digits.load):
        x, y = original(self, data_dir, split) or (None, None)
        return None if x is None else (x, y + 100 if split == "test" else y)

    monkeypatch.setattr(Digits, "load", load)
    assert "'test'" in fails()
    assert "epoch" not in capsys.readouterr().out


def test_stages_without_batches_are_skipped_and_a_profile_is_printed(
    run, capsys, caplog, monkeypatch
):
    # Lightning's logger prints by itself if the root has no handler when it is imported.
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
    run("--epochs=1", "--limit_test_batches=0", "--profiler=simple")
    assert "Test Error" not in capsys.readouterr().out
    assert "run_training_epoch" in caplog.text


def test_flags_of_the_trainer_go_with_what_is_ours(run):
    for words in (["--precision=bf16-mixed", "--gradient_clip_val=1"], ["--scheduler=none"]):
        assert run("--epochs=1", *words).trainer.global_step == 21


def test_regression_needs_no_more_than_the_data_set(run):
    scores = run("--dataset=Diabetes", "--epochs=2").scores
    assert set(scores) == {"val/loss", "test/loss"}
    assert 0.1 < scores["test/loss"] < 1


def test_the_average_loss_of_a_summed_loss_is_over_samples(run):
    words = ["--epochs=1", "--lr=0", "--loss=CrossEntropyLoss"]
    mean, summed = (run(*words, f"--loss.reduction={way}").scores for way in ("mean", "sum"))
    assert summed["test/loss"] == pytest.approx(mean["test/loss"], rel=1e-5)


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "nll"])
def test_class_weights_are_a_list_and_the_mean_is_over_them(run, loss):
    """Whatever the batches: PyTorch's own loss of all samples at once is the reference."""
    weight = [1.0] * 9 + [5.0]
    cli = run(f"--loss={loss}", f"--loss.weight={weight}", "--epochs=1", "--name=a")
    x, y = Digits().load(Path(), "test")
    with torch.no_grad():
        logits = cli.model.eval()(cli.datamodule.on_after_batch_transfer((x, y), 0)[0])
    whole = pytest.approx(float(F.cross_entropy(logits, y, torch.tensor(weight))), rel=1e-5)
    best = "--ckpt_path=runs/a/checkpoints/best.ckpt"
    for size in (7, 512):
        assert run("test", best, f"--eval_batch_size={size}").scores["test/loss"] == whole
    saved = yaml.safe_load(Path("runs/a/config.yaml").read_text())
    assert saved["model"]["loss"]["init_args"]["weight"] == weight


def test_the_saved_config_of_one_data_set_runs_on_another(trained, parse):
    trained("--epochs=1", "--no_test")
    config = parse("--config=runs/a/config.yaml", "--dataset=CIFAR10")
    assert config["model"]["net"]["init_args"]["in_shape"] == [3, 32, 32]
