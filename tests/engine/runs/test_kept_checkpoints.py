import pytest
import torch


@pytest.mark.parametrize(("monitor", "choose"), [("val/loss", min), ("val/acc", max)])
def test_best_is_the_best_by_the_metric_and_last_is_the_last(run, column, monitor, choose):
    cli = run("--epochs=5", f"--monitor={monitor}", "--lr=0.03", "--name=a", "--no_test")
    values = [float(value) for value in column(cli.folder / "metrics.csv", monitor)]
    best, last = (
        torch.load(f"runs/a/checkpoints/{name}.ckpt", weights_only=True)
        for name in ("best", "last")
    )
    assert last["epoch"] == 4
    assert best["epoch"] == values.index(choose(values))
    files = {path.name for path in (cli.folder / "checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_a_checkpoint_callback_of_the_user_writes_beside_them(run):
    cli = run("--epochs=1", "--name=a", "--no_test", "--callbacks+=ModelCheckpoint")
    files = {str(path.relative_to(cli.folder)) for path in cli.folder.rglob("*.ckpt")}
    assert files == {f"checkpoints/{name}.ckpt" for name in ("best", "last", "epoch=0-step=21")}


def test_what_is_reported_is_the_best_checkpoints_score(run):
    cli = run("--epochs=5", "--lr=0.03", "--name=a")
    again = run("validate", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    assert again.scores["val/loss"] == cli.scores["val/loss"]
