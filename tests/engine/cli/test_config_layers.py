import pytest

from lit_opt.engine.cli.command_line import _run_label as config_label


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
