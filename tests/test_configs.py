"""Promise 6: every config parses, runs, and says what it is."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, but_the_first_slow, main
from digits_as_files import write

import lit_opt.sources as data
from lit_opt.sources import Source

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SHAPES = {"FashionMNIST": (1, 28, 28), "CIFAR10": (3, 32, 32)}


def test_they_say_score_time_and_command_and_write_only_what_differs_from_the_defaults(parse):
    defaults = parse()
    assert parse("--config", str(ROOT / "configs/digits.yaml")) == defaults
    for path in CONFIGS:
        starts = re.findall("^# ([A-Z][a-z]+:)", path.read_text(), re.MULTILINE)
        assert starts == ["What:", "Expect:", "Time:", "Run:"]
        assert f"configs/{path.name}" in path.read_text()
        for group, values in yaml.safe_load(path.read_text()).items():
            for key, value in values.items():
                assert value != defaults[group][key], f"{path.name}: {group}.{key}"


@pytest.fixture(scope="module")
def pngs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pngs")
    write(folder)
    return folder


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_runs(path, run, pngs, monkeypatch):
    """On made-up images where the data set would have to be downloaded, the large net narrow."""
    Path("data").mkdir()
    Path("data/images").symlink_to(pngs)

    def load(self: Source, data_dir: Path, split: str):
        if split == "val":
            return None
        shape = SHAPES[type(self).__name__]
        return torch.randint(256, (640, *shape), dtype=torch.uint8), torch.arange(640) % 10

    for name in SHAPES:
        monkeypatch.setattr(getattr(data, name), "load", load)
        monkeypatch.setattr(getattr(data, name), "download", lambda self, data_dir: None)
    few = [f"--limit_{stage}_batches=2" for stage in ("train", "val", "test")]
    few += ["--net.width=8"] * ("ResNet9" in path.read_text())
    cli = run(f"--config={path}", "--epochs=1", "--batch_size=16", "--eval_batch_size=16", *few)
    assert cli.trainer.global_step == 2
    assert "test/loss" in cli.scores


def test_image_folder_learns(run, pngs, column):
    config = f"--config={ROOT}/configs/image_folder.yaml"
    words = [f"--data_dir={pngs}", "--epochs=2", "--dataset.image_size=8", "--name=a"]
    scores = run(config, *words).scores
    assert 0.9 < scores["test/acc"] <= 1
    run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    files, classes = (column("runs/a/predictions.csv", name) for name in ("file", "class"))
    assert files == [str(path) for path in sorted(Path(pngs, "test").rglob("*.png"))]
    right = [Path(file).parent.name == name for file, name in zip(files, classes, strict=True)]
    assert sum(right) / len(right) == pytest.approx(scores["test/acc"])


NAMES = ["diabetes", *(path.stem for path in CONFIGS)]
WORDS = [[], *([f"--config={ROOT}/configs/{name}.yaml"] for name in dict.fromkeys(NAMES))]


@pytest.mark.parametrize(
    "words",
    but_the_first_slow(WORDS, 2),
    ids=lambda words: Path("".join(words) or "default").stem,
)
def test_what_print_config_prints_runs_again(words, parse, capsys):
    write(Path("data/images"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*words, "--lr=0.125", "--print_config"])
    assert caught.value.code == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    assert parse("--config=printed.yaml") == parse(*words, "--lr=0.125")
    net = yaml.safe_load(Path("printed.yaml").read_text())["model"]["net"]
    assert "in_shape" not in net["init_args"]  # so that another data set brings its own
