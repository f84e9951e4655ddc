"""What git knows of a folder."""

import io
import subprocess
import tarfile
from pathlib import Path

from lit_opt.engine.base.errors import UserError


def git(folder: Path, *words: str, check: bool = True) -> bytes:
    """What a git command prints in `folder`.

    Raises:
        UserError: if there is no git, or with its last line if it fails and `check` is true.
    """
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("git was not found; it keeps what a project is made from") from None
    if check and done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {words[0]}: {told[-1] if told else 'failed'}")
    return done.stdout


def is_repository(folder: Path) -> bool:
    """Whether `folder` is the root of a git work tree."""
    top = git(folder, "rev-parse", "--show-toplevel", check=False).decode().strip()
    return bool(top) and Path(top).resolve() == folder.resolve()


def commit_of(folder: Path, revision: str = "HEAD") -> str | None:
    """The full name of a commit; None if there is no such."""
    words = ("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return git(folder, *words, check=False).decode().strip() or None


def files_at(folder: Path, commit: str) -> dict[str, bytes]:
    """The content of all files of a commit, by their paths from the root."""
    with tarfile.open(fileobj=io.BytesIO(git(folder, "archive", "--format=tar", commit))) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar if member.isfile()]
        return {name: file.read() for name, file in members if file}


def files_here(folder: Path) -> dict[str, bytes]:
    """The content of the files that git tracks in `folder`, as they are now."""
    names = git(folder, "ls-files", "-z").decode().split("\0")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def identity(folder: Path) -> list[str]:
    """Options of git that name an author, where none is configured."""
    if git(folder, "config", "user.email", check=False).strip():
        return []
    return ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
