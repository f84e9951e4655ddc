"""The image files of data_dir/{train,val,test}/<class>/** or data_dir/<class>/**, and what else."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.loading.image_pixels import suffixes

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def is_unsplit(data_dir: Path) -> bool:
    """Whether the class folders lie in data_dir itself, and no folder of a split does."""
    folders = [path for path in _visible(data_dir) if path.is_dir()]
    names = {name for names in SPLITS.values() for name in names}
    if any(folder.name.lower() in names for folder in folders):
        return False
    return any(_is_image(path) for folder in folders for path in _files_below(folder, set()))


def split_folder(data_dir: Path, split: str) -> Path:
    """By one of its usual names, in upper or lower case; raises `UserError` if there are two."""
    if split != "val" and is_unsplit(data_dir):
        return data_dir
    usual = [path for path in _visible(data_dir) if path.name.lower() in SPLITS[split]]
    found = [path for path in usual if path.is_dir()]
    if len(found) > 1:
        raise UserError(
            f"'{found[0]}' and '{found[1]}' are both names of the {split} folder;\n"
            "keep one: rename or merge the other"
        )
    return found[0] if found else data_dir / split


def class_folders(data_dir: Path, split: str) -> list[tuple[str, Path]]:
    """Names and folders. Names that look the same are one, though macOS writes "é" as two signs."""
    root = split_folder(data_dir, split)
    folders = [path for path in _visible(root) if path.is_dir()]
    if not folders:
        raise UserError(
            f"'{root}' {'has no class folders' if root.is_dir() else 'is missing'}; expected\n"
            f"{data_dir}/{{train,val,test}}/<class>/<image files>, where val may be absent,\n"
            f"or {data_dir}/<class>/<image files>; set --data_dir"
        )
    return sorted((class_name_of(folder), folder) for folder in folders)


def class_name_of(folder: Path) -> str:
    """Composed, and text that can be written whatever the locale: bytes that are no UTF-8 are �."""
    name = os.fsencode(folder.name).decode("utf-8", "replace")
    return unicodedata.normalize("NFC", name)


def find_images(
    data_dir: Path, split: str, classes: Sequence[str], whose: str = "training set"
) -> tuple[list[Path], list[int], list[Path]]:
    """Image files, class by class and by name, their labels, and files that are no images.

    `whose` classes they are, for the error about another one.
    """
    images, labels = [], []
    others = [path for path in _visible(split_folder(data_dir, split)) if not path.is_dir()]
    for name, folder in class_folders(data_dir, split):
        if name not in classes:
            raise UserError(
                f"'{folder}' is a class that the {whose} doesn't have: {first_of(classes)}"
            )
        for path in _files_below(folder, set(folder.resolve().parents)):
            if _is_image(path):
                images.append(path)
                labels.append(classes.index(name))
            else:
                others.append(path)
    return images, labels, others


def images_without_classes(data_dir: Path, classes: Sequence[str]) -> list[Path]:
    """All images below the test folder, or data_dir; none if they lie in folders of `classes`."""
    folder = split_folder(data_dir, "test")
    folder = folder if folder.is_dir() else data_dir
    inside = {class_name_of(path) for path in _visible(folder) if path.is_dir()}
    if inside and inside <= set(classes):
        return []
    return [path for path in _files_below(folder, set()) if _is_image(path)]


def check_classes(data_dir: Path, split: str, classes: Sequence[str], labels: list[int]) -> None:
    """Every class is trained on; other splits may lack some, but not all."""
    present = {classes[label] for label in labels}
    found = class_folders(data_dir, split)
    empty = [f"'{folder}'" for name, folder in found if name not in present]
    if empty and (split == "train" or not labels):
        raise UserError(
            f"no images that can be read (.jpg, .png, .webp, .tif, …) are in {first_of(empty)};\n"
            "each class needs some: add them, or remove the class folder"
        )


def first_of(names: Sequence[str], comma: str = ", ") -> str:
    """The first ten, and how many more."""
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return comma.join(names[:10]) + more


def _visible(folder: Path) -> list[Path]:
    """By name; without hidden ones and what macOS puts into archives."""
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"can't read the folder '{folder}': {error.strerror}") from error
    return [path for path in found if path.name[0] != "." and path.name != "__MACOSX"]


def _files_below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """By name. A folder in `seen` is not entered again, so links in a circle end."""
    if (real := folder.resolve()) in seen:
        return
    seen.add(real)
    for path in _visible(folder):
        if path.is_dir():
            yield from _files_below(path, seen)
        else:
            yield path


def _is_image(path: Path) -> bool:
    """By its name; a link to nowhere is a broken image, a pipe is none."""
    return path.suffix.lower() in suffixes() and (path.is_file() or not path.exists())
