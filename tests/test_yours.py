"""What a cloner reads first: few files, that know little of each other."""

from conftest import ROOT
from test_architecture import MODULES, PACKAGE, YOURS, reached, room, starting


def test_nets_and_losses_know_no_lightning_and_module_and_data_not_each_other():
    for module in ("lit_opt.models", "lit_opt.losses"):
        assert not starting(reached(module), "lightning", "lit_opt")
    rooms = {m: {room(name) for name in reached(m) if name in MODULES} for m in MODULES}
    assert not starting(reached("lit_opt.module"), "lit_opt.datamodule", "lit_opt.sources")
    assert not starting(reached("lit_opt.datamodule"), "lit_opt.module", "lit_opt.models")
    assert "loading" not in rooms["lit_opt.module"]
    assert not {"optim", "tasks"} & rooms["lit_opt.datamodule"]
    assert not {"callbacks", "runs", "cli"} & (
        rooms["lit_opt.module"] | rooms["lit_opt.datamodule"]
    )


def test_what_a_newcomer_lists_is_short():
    beside = [p.name for p in PACKAGE.iterdir() if p.name not in ("engine", "__pycache__")]
    assert len(beside) <= 8
    first = [ROOT / "train.py", *(ROOT / f"{name.replace('.', '/')}.py" for name in YOURS)]
    assert sum(len(path.read_text().splitlines()) for path in first) <= 500
