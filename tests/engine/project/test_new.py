"""Projects made from this checkout: clean, passing, updated; what is refused writes nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.project import example, new
from lit_opt.engine.project.repository import files_here, is_repository

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())
EXAMPLES = [name for name in EXAMPLES if name != "__pycache__"]
LONG = "a_rather_long_package"
pytestmark = pytest.mark.skipif(not is_repository(ROOT), reason="lit-opt is no git checkout here")


def call(folder: Path, *words: str, code: int = 0) -> str:
    """What a command prints in `folder`, where the package of the project is the one imported."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    variables.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def lint(folder: Path) -> None:
    call(folder, sys.executable, "-m", "ruff", "check", ".")
    call(folder, sys.executable, "-m", "ruff", "format", "--check", ".")


@pytest.mark.parametrize("name", [None, "table"])
def test_a_project_is_whole_clean_and_committed(tmp_path, capsys, name):
    target = tmp_path / "made"
    words = [str(target), "--package", LONG, "--author", 'A "B"']
    new.new([*words, *(["--example", name] if name else [])])
    assert f"cd {target}" in capsys.readouterr().out
    lint(target)
    assert call(target, "git", "status", "--porcelain") == ""
    assert call(target, "git", "log", "--format=%s") == "From lit-opt\n"
    texts = {
        path: content.decode()
        for path, content in files_here(target).items()
        if path[-4:] != "ckpt"
    }
    assert not [path for path, text in texts.items() if re.search(r"\blit_opt\b", text)]
    assert not [path for path in texts if path.startswith(("benchmarks", "examples"))]
    assert [path for path in texts if path.startswith("docs")] == ["docs/make_it_yours.md"]
    assert 'A \\"B\\"' in texts["pyproject.toml"]
    assert "lit-opt contributors" in texts["LICENSE"]
    commit = call(ROOT, "git", "rev-parse", "HEAD").strip()
    assert f'commit = "{commit}"' in texts["pyproject.toml"]
    assert os.access(target / ".ci/run", os.X_OK)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ab", "zebra", "ViT", "a_very_long_name_of_a_package"])
def test_a_name_of_any_length_and_place_in_the_alphabet_is_clean(tmp_path, name):
    target = tmp_path / "made of-it"
    new.new([str(target), "--package", name])
    lint(target)


def test_the_folder_names_the_package(tmp_path, capsys):
    new.new([str(tmp_path / "My-project")])
    assert "package my_project" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_train_py_runs(parse, name):
    """Its defaults give the configuration that the example's config gives."""
    files = files_here(ROOT)
    own = {path: c for path, c in files.items() if new.goes_along(path)}
    own |= example.example_files(files, name)
    assert f"configs/{name}.yaml" in own
    text = example.train_of(own, name).decode()
    scope: dict[str, object] = {"__name__": "train"}
    exec(compile(text, "train.py", "exec"), scope)
    first = "configs/pretrain.yaml" if name == "finetune" else f"configs/{name}.yaml"
    given = yaml.safe_load(own[first])
    shown = str(scope["program"].defaults)
    for key in ("max_epochs", "max_steps", "lr", "scheduler", "monitor"):
        for values in (given, given.get("trainer", {}), given.get("model", {})):
            if isinstance(values, dict) and key in values:
                assert repr(values[key]) in shown
    assert "examples." not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["made", "--package", "class"], "expected a name such as my_pkg"),
        (["made", "--package", "my-pkg"], "expected a name such as my_pkg"),
        (["made", "--package", "torch"], "a module of that name already"),
        (["made", "--package", "json"], "a module of that name already"),
        (["made", "--package", "tests"], "a module of that name already"),
        (["made", "--package", "lit_opt"], "a module of that name already"),
        (["1st"], "expected a name such as my_pkg"),
        (["full", "--package", "mine"], "isn't an empty folder"),
        (["file", "--package", "mine"], "isn't an empty folder"),
        (["no/made", "--package", "mine"], "there is no folder"),
        ([f"{ROOT}/made", "--package", "mine"], "is inside lit-opt"),
        (["made", "--package", "mine", "--example", "tabel"], "expected one of char_lm"),
        (["made", "--pakage", "mine"], "unrecognized arguments"),
    ],
)
def test_what_is_refused_writes_nothing(tmp_path, words, told):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=told):
        new.new(words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*words: object, **options: object) -> None:
        raise UserError("git add: out of luck")

    monkeypatch.setattr(new, "git", fail)
    with pytest.raises(UserError, match="out of luck"):
        new.make(tmp_path / "made", {"a": b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_project_passes_its_tests_and_takes_a_later_engine(tmp_path):
    """Of an example, from a clone of lit-opt that then goes on; at last both change a line."""
    theirs, project = tmp_path / "template", tmp_path / "made"
    call(tmp_path, "git", "clone", "-q", str(ROOT), str(theirs))
    python = sys.executable
    call(theirs, python, "train.py", "new", str(project), "--package", "mine", "--example", "table")
    few = ["tests/test_project.py", "tests/test_table.py", "tests/test_models.py"]
    call(project, python, "-m", "pytest", "-q", "-n", "0", *few)
    call(project, python, "train.py", "--max_epochs=1", "--dataset.rows=400", "--name=a")
    score = ["train.py", "test", "--ckpt_path=runs/a/checkpoints/best.ckpt"]
    scored = call(project, python, *score)
    assert "is up to date" in call(project, python, "train.py", "update", "--from", str(theirs))

    # An engine that nobody has changed here.
    (theirs / "lit_opt/engine/newer.py").write_text('"""Of lit_opt, newer."""\n')
    append(theirs / "lit_opt/engine/base/errors.py", "\nNEWER = 1\n")
    changes = theirs / "CHANGES.md"
    changes.write_text(changes.read_text().replace("\n- ", "\n- 0.2.0: rename x to y.\n- ", 1))
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    call(theirs, "git", "add", "-A")
    call(theirs, "git", *who, "commit", "-qm", "newer")
    append(project / "mine/module.py", "\n# mine\n")
    told = call(project, python, "train.py", "update", "--from", str(theirs))
    assert "conflict" not in told
    assert "- 0.2.0: rename x to y." in told
    assert (project / "mine/engine/newer.py").read_text() == '"""Of mine, newer."""\n'
    changed = call(project, "git", "status", "--porcelain").split()
    assert changed[1::2] == [
        "mine/engine/base/errors.py",
        "mine/module.py",
        "pyproject.toml",
        "mine/engine/newer.py",
    ]
    assert call(project, python, *score) == scored
    call(project, "git", "add", "-A")
    call(project, "git", *who, "commit", "-qm", "updated")

    # The same line changed on both sides.
    for root, word in ((theirs / "lit_opt", "THEIRS"), (project / "mine", "OURS")):
        path = root / "engine/base/errors.py"
        path.write_text(path.read_text().replace("NEWER = 1", f"{word} = 1"))
        call(path.parents[2], "git", *who, "commit", "-qam", word)
    told = call(project, python, "train.py", "update", "--from", str(theirs), "--to", "HEAD")
    assert "mine/engine/base/errors.py: 1 places changed here and in lit-opt" in told
    text = (project / "mine/engine/base/errors.py").read_text()
    assert "<<<<<<< here\nOURS = 1\n=======\nTHEIRS = 1\n>>>>>>> lit-opt\n" in text
    assert shutil.which("git")
