"""`python train.py update --from LIT_OPT`: the engine of a later lit-opt in this project."""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lit_opt.engine.base.allowed_imports import TEMPLATE
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.project.files import is_of_the_engine, renamed_files, write_files
from lit_opt.engine.project.repository import commit_of, files_at, git, is_repository

INTERFACE = "CHANGES.md"


@dataclass
class Merge:
    """What an update does to the engine's files.

    `written` are new contents by path, `deleted` goes; both are without conflict. `conflicts` holds
    for each file what it is about; those with markers are in `written` as well.
    """

    written: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    conflicts: dict[str, str] = field(default_factory=dict)


def update(words: list[str]) -> None:
    """Does what the words after `update` ask for, in the project of the current folder."""
    parser = VerbParser("update", "Replaces the engine of this project by that of another lit-opt.")
    parser.add_argument("--from", dest="source", required=True, help="its folder or its git URL")
    parser.add_argument("--to", help="a commit, tag or branch of it; its HEAD if left out")
    given = parser.parse_args(words)
    project = Path.cwd()
    package, commit = recorded(project)
    check_clean(project, package)
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(folder) / "template"
        _clone(given.source, theirs)
        wanted = commit_of(theirs, f"origin/{given.to}") or commit_of(theirs, given.to or "HEAD")
        if wanted is None:
            raise UserError(f"--to {given.to}: {given.source} has no such commit, tag or branch")
        if wanted == commit:
            print(f"the engine is up to date: lit-opt {commit[:10]}")
            return
        if commit_of(theirs, commit) is None:
            raise UserError(
                f"{given.source} has no commit {commit[:10]}, from which this project was made;\n"
                "--from takes a clone with the whole history, of the same lit-opt"
            )
        before, after = files_at(theirs, commit), files_at(theirs, wanted)
    merge = three_way_merge(
        _engine(before, package), _here(project, package), _engine(after, package)
    )
    record(project, wanted, _version(after))
    apply(project, merge)
    _tell(merge, commit, wanted, before, after)
    print(
        "\nlook at it with `git diff`, test it with `pytest`; this takes it back:\n"
        f"  git stash -u -- {package}/engine tests pyproject.toml"
    )


def recorded(project: Path) -> tuple[str, str]:
    """The package of the project and the commit of lit-opt that its engine is."""
    try:
        of_project = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["lit-opt"]
        return of_project["package"], of_project["commit"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        raise UserError(
            "update works in the root of a project that `python train.py new` has made:\n"
            "its pyproject.toml says under [tool.lit-opt] which commit the engine is"
        ) from None


def check_clean(project: Path, package: str) -> None:
    """Raises `UserError` unless git could bring back every file that an update may write to."""
    inside = git(project, "rev-parse", "--show-prefix", check=False).decode()  # of a larger one
    if not inside:
        raise UserError(f"{project} is in no git repository, so an update could not be undone")
    words = ("status", "--porcelain", "--untracked-files=all", "-z", "--", ".")
    changed = git(project, *words).decode().split("\0")
    paths = [line[3:].removeprefix(inside.strip()) for line in changed if line]
    ours = [path for path in paths if is_of_the_engine(_of_template(path, package))]
    if ours:
        raise UserError(
            f"{ours[0]} has changes that are not committed ({len(ours)} such files);\n"
            "commit or stash what is changed in the engine, so that an update can be undone"
        )


def _of_template(path: str, package: str) -> str:
    return re.sub(rf"^{package}(?=/)", TEMPLATE, path)


def _clone(source: str, target: Path) -> None:
    if Path(source).is_dir() and not is_repository(Path(source)):
        raise UserError(f"--from {source} is no git checkout of lit-opt, whose history is needed")
    place = str(Path(source).resolve()) if Path(source).exists() else source
    git(target.parent, "clone", "--quiet", place, str(target))


def _engine(files: Mapping[str, bytes], package: str) -> dict[str, bytes]:
    return renamed_files({p: c for p, c in files.items() if is_of_the_engine(p)}, package)


def _here(project: Path, package: str) -> dict[str, bytes]:
    names = git(project, "ls-files", "-z").decode().split("\0")
    own = [name for name in names if is_of_the_engine(_of_template(name, package))]
    return {name: (project / name).read_bytes() for name in own if (project / name).is_file()}


# ---- the three-way merge


def three_way_merge(
    base: Mapping[str, bytes], ours: Mapping[str, bytes], theirs: Mapping[str, bytes]
) -> Merge:
    """What turns `ours` into `theirs` and keeps what `ours` has changed since `base`."""
    merge = Merge()
    for path in sorted({*base, *ours, *theirs}):
        before, here, there = base.get(path), ours.get(path), theirs.get(path)
        if there in (here, before):
            continue
        if here == before:
            if there is None:
                merge.deleted.append(path)
            else:
                merge.written[path] = there
        elif there is None:
            merge.conflicts[path] = "changed here, deleted in lit-opt: it was kept"
        elif here is None:
            merge.conflicts[path] = "deleted here, changed in lit-opt: it stays deleted"
        else:
            _merge_texts(merge, path, before or b"", here, there)
    return merge


def _merge_texts(merge: Merge, path: str, before: bytes, here: bytes, there: bytes) -> None:
    """By `git merge-file`, which leaves markers where both have changed the same lines."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("here", "before", "lit-opt")]
        for file, content in zip(files, (here, before, there), strict=True):
            file.write_bytes(content)
        labels = [word for file in files for word in ("-L", file.name)]
        command = ["git", "merge-file", "-p", *labels, *map(str, files)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode > 127:  # no text
        merge.conflicts[path] = "changed here and in lit-opt, and no text: it was kept"
        return
    merge.written[path] = done.stdout
    if done.returncode:
        merge.conflicts[path] = f"{done.returncode} places changed here and in lit-opt: see <<<<<<<"


def apply(project: Path, merge: Merge) -> None:
    write_files(project, merge.written)
    for path in merge.deleted:
        (project / path).unlink()


def record(project: Path, commit: str, version: str) -> None:
    """Writes to pyproject.toml which lit-opt the engine is now; nothing else in it changes.

    Raises:
        UserError: if it is written in a way that is not found; the file is as it was then.
    """
    file = project / "pyproject.toml"
    text = file.read_bytes().decode()  # its ends of lines stay
    table = re.search(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*[\"']?lit-opt[\"']?[ \t]*\]", text, re.M)
    start, rest = (text[: table.end()], text[table.end() :]) if table else (text, "")
    for key, value in (("commit", commit), ("version", version)):
        line = rf"^([ \t]*{key}[ \t]*=[ \t]*)([\"']).*?\2"
        rest = re.sub(line, rf'\g<1>"{value}"', rest, count=1, flags=re.M)
    if tomllib.loads(start + rest)["tool"]["lit-opt"]["commit"] != commit:
        raise UserError(f'{file}: expected a table [tool.lit-opt] with a line commit = "…"')
    file.write_bytes((start + rest).encode())


# ---- what is told


def _tell(
    merge: Merge,
    commit: str,
    wanted: str,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
) -> None:
    changed = f"{len(merge.written)} files written, {len(merge.deleted)} deleted"
    print(f"engine: lit-opt {commit[:10]} -> {wanted[:10]}; {changed}, none committed")
    if merge.conflicts:
        print(f"\n{len(merge.conflicts)} conflicts, for you to decide:")
        for path, why in merge.conflicts.items():
            print(f"  {path}: {why}")
    if lines := new_lines(before.get(INTERFACE, b""), after.get(INTERFACE, b"")):
        print("\nin your own files:")
        print("\n".join(f"  {line}" for line in lines))
    if packages := sorted(_dependencies(after) - _dependencies(before)):
        print(f"\npackages for pyproject.toml: {', '.join(packages)}")


def new_lines(before: bytes, after: bytes) -> list[str]:
    """The changes of the interface, a list item each, that were not there before."""
    old = set(before.decode().splitlines())
    return [line for line in after.decode().splitlines() if line[:2] == "- " and line not in old]


def _dependencies(files: Mapping[str, bytes]) -> set[str]:
    project = tomllib.loads(files["pyproject.toml"].decode())["project"]
    return set(project["dependencies"])


def _version(files: Mapping[str, bytes]) -> str:
    version: str = tomllib.loads(files["pyproject.toml"].decode())["project"]["version"]
    return version
