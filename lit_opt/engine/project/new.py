"""`python train.py new TARGET`: a project of one's own from this checkout."""

import keyword
import re
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from lit_opt import __version__
from lit_opt.engine.base.allowed_imports import TEMPLATE
from lit_opt.engine.base.errors import UserError, warn
from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.project.example import example_files, train_of
from lit_opt.engine.project.files import (
    KEPT_CONFIG,
    goes_along,
    is_of_the_engine,
    renamed_files,
    write_files,
)
from lit_opt.engine.project.repository import commit_of, files_here, git, identity, is_repository

ROOT = Path(__file__).parents[3]
TAKEN = {"tests", "configs", "runs", "data", "train", "conftest", "build", "dist"}

README = """\
# {title}

{what}

```bash
pip install -e . && python train.py
```

```bash
pip install -e ".[dev]" && pytest
```

The first installs and trains, the second installs and passes the tests.

## Use it
```bash
python train.py --epochs 1 --name first
python train.py test --ckpt_path runs/first/checkpoints/best.ckpt
python train.py --help
```

`{package}/` is yours: `module.py`, `datamodule.py`, `models.py`, `losses.py`, `sources.py` and
what you add: `docs/make_it_yours.md` has ten lines for each. What the project runs by default
stands in `train.py`. `{package}/engine/` is the machine behind it, from lit-opt {version}; with its
tests and that page it is replaced by a later one with
`python train.py update --from PATH_OR_URL_OF_LIT_OPT`, which writes to no other file.
"""


def new(words: list[str]) -> None:
    """Makes the project that the words after `new` ask for."""
    parser = VerbParser("new", "Makes a project of your own from this checkout of lit-opt.")
    parser.add_argument("target", type=Path, help="its folder, which is made: ../my_project")
    parser.add_argument(
        "--package", help="its Python package; that of the folder, with _ for -, if left out"
    )
    parser.add_argument("--example", help="a folder of examples/, whose task the project has")
    parser.add_argument("--author", help="who holds its licence; git's user.name if left out")
    given = parser.parse_args(words)
    target = given.target.resolve()
    package = given.package or re.sub(r"[-. ]", "_", target.name).lower()
    check_target(target)
    check_name(package)
    if not is_repository(ROOT):
        raise UserError(f"{ROOT} is no git checkout of lit-opt: `new` copies the files of one")
    project = project_files(files_here(ROOT), package, given.example, given.author or _user())
    make(target, project)
    print(
        f"{target}: package {package}, {len(project)} files, one commit; now:\n"
        f"  cd {given.target}\n"
        "  pip install -e . && python train.py"
    )


def check_target(target: Path) -> None:
    """Raises `UserError` where no project can be made."""
    if target.is_relative_to(ROOT):
        raise UserError(f"{target} is inside lit-opt; choose a folder beside it: ../{target.name}")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists already and isn't an empty folder; choose another name")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent} to make {target.name} in")


def check_name(package: str) -> None:
    """Raises `UserError` for what can't be the name of a package, or is that of another one."""
    if not package.isidentifier() or keyword.iskeyword(package) or not package.isascii():
        raise UserError(f"--package {package!r}: expected a name such as my_pkg")
    here = package == TEMPLATE or package in TAKEN or package.startswith("_")
    if here or package in sys.stdlib_module_names or find_spec(package):
        raise UserError(
            f"--package {package}: there is a module of that name already, which it would hide"
        )


def project_files(
    files: dict[str, bytes], package: str, example: str | None, author: str
) -> dict[str, bytes]:
    """The files of a project by their paths.

    Args:
        files: Those of lit-opt.
        package: Its package.
        example: A folder of `examples/`, or None for the shipped task.
        author: Who holds its licence.
    """
    own = {path: content for path, content in files.items() if goes_along(path)}
    if example:
        own.pop(KEPT_CONFIG)  # of the shipped task
        own |= example_files(files, example)
    own["train.py"] = train_of(own, example)
    own = renamed_files(own, package)
    title = package.replace("_", "-")
    commit = commit_of(ROOT)
    own["pyproject.toml"] = _pyproject(own["pyproject.toml"].decode(), package, author, commit)
    own["LICENSE"] = _license(files["LICENSE"].decode(), package, author)
    what = "Train, validate and test a model from one command, on PyTorch Lightning."
    if example:  # what it is, what to expect, what to run first
        head = own[f"configs/{example}.yaml"].decode().partition("\n\n")[0].splitlines()
        what = "\n".join(line[1:].strip() for line in head if line.startswith("#"))
    readme = README.format(title=title, what=what, package=package, version=__version__)
    return own | {"README.md": readme.encode()}


def _pyproject(text: str, package: str, author: str, commit: str | None) -> bytes:
    """The project's name and author, and which lit-opt its engine is."""
    text = re.sub(
        r'^name = ".*"', f'name = "{package.replace("_", "-")}"', text, count=1, flags=re.M
    )
    text = re.sub(r'^version = ".*"', 'version = "0.1.0"', text, count=1, flags=re.M)
    text = re.sub(r'^description = ".*"', f'description = "{package}"', text, count=1, flags=re.M)
    text = text.replace(', "examples"]', "]")  # of the type checker
    # The engine is laid out for the length and the place in the alphabet of lit-opt's own name.
    rules = f'"{package}/**" = ["E501", "N999"]\n"tests/**" = ["E501", "I001"]\n'
    format_ = f'[tool.ruff.format]\nexclude = ["{package}/engine/**", "tests/**"]\n\n'
    start = "[tool.ruff.lint.per-file-ignores]\n"
    text = text.replace(start, f"{format_}{start}{rules}", 1)
    text = re.sub(r"^authors = .*", f"authors = [{{ name = {_quoted(author)} }}]", text, flags=re.M)
    record = f'package = "{package}"\nversion = "{__version__}"\ncommit = "{commit}"\n'
    about = "# Which lit-opt the engine is; `python train.py update` goes by it.\n"
    return f"{text.rstrip()}\n\n[tool.lit-opt]\n{about}{record}".encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _license(text: str, package: str, author: str) -> bytes:
    """The holder of the project's, above that of the engine, whose notice has to stay."""
    first = re.search(r"^Copyright \(c\) (\d+) (.*)$", text, re.M)
    if first is None:
        return text.encode()
    ours = f"Copyright (c) {first[1]} {author}\n{first[0]} ({package}/engine and what came with it)"
    return text.replace(first[0], ours, 1).encode()


def _user() -> str:
    return git(ROOT, "config", "user.name", check=False).decode().strip() or "its contributors"


def make(target: Path, files: dict[str, bytes]) -> None:
    """Writes the project beside its place, commits it, and moves it there in one step."""
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        write_files(aside, files)
        git(aside, "init", "--quiet")
        git(aside, "add", "--all", "--force")
        git(aside, *identity(aside), "commit", "--quiet", "--no-gpg-sign", "-m", "From lit-opt")
        aside.chmod(0o755)
        aside.rename(target)  # an empty folder is replaced
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    changed = git(ROOT, "status", "--porcelain", "--untracked-files=no", check=False).decode()
    if any(is_of_the_engine(line[3:]) for line in changed.splitlines()):
        warn(
            "the engine has changes here that are not committed; `update` will take them for yours"
        )
