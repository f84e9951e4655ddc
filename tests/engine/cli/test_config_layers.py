import pytest
import torch

from lit_opt.engine.cli.command_line import _run_label as config_label
from lit_opt.engine.cli.config_layers import load_point
from lit_opt.engine.cli.options import Options
from lit_opt.engine.errors import UserError


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["--lr", "1"], None),
        (["--config", "configs/tutorial.yaml", "--lr", "1"], "tutorial"),
        (["-c", "a.yaml", "--config=b.yaml"], "b"),
        (["--config", "runs/first/config.yaml"], "first"),
    ],
)
def test_an_unnamed_run_is_called_after_its_config(words, label):
    assert config_label(words) == label


@pytest.mark.parametrize(
    "content",
    ["no zip file", "", {"weight": torch.zeros(2)}, {"hyper_parameters": Options}],
    ids=["text", "empty", "weights", "code"],
)
def test_files_that_are_no_checkpoints_are_told_apart(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_text(content) if isinstance(content, str) else torch.save(content, path)
    with pytest.raises(UserError, match=r"x\.ckpt"):
        load_point(path)
