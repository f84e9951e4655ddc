"""Your own images, one folder per class."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lit_opt.engine.errors import UserError
from lit_opt.engine.loading import image_pixels
from lit_opt.engine.loading.cache import Row, Rows, cached, in_memory
from lit_opt.engine.loading.source import Source

CACHE = ".lit_opt_cache"
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class ImageFolder(Source):
    """Your own images in data_dir/{train,val,test}/<class>/**; val may be absent.

    Also training, valid, validation, testing, in upper or lower case. Classes are train's folders
    in alphabetical order; hidden files and folders are skipped. Images are upright, 16-bit grey is
    scaled. They become N * C * H * W bytes, which need not fit in memory.

    Args:
        image_size: side in pixels; the shorter side is resized to it and the centre square kept.
            Without it all images must have the same size.
        channels: 3 for RGB, 1 for grey.
        cache: decode once, into data_dir/.lit_opt_cache (or .lit_opt_cache here, if data_dir is
            read-only), and again only when files change; otherwise at every start, into memory.
        background: colour behind transparent pixels: white, black, "#8090a0", "rgb(128,144,160)".
        skip_broken: leave out images that can't be read, and say which; otherwise an error.
    """

    def __init__(
        self,
        image_size: int | None = None,
        channels: int = 3,
        cache: bool = True,
        background: str = "white",
        skip_broken: bool = False,
    ) -> None:
        if channels not in (1, 3) or (image_size is not None and image_size < 1):
            raise UserError(
                f"image_size={image_size}, channels={channels}: image_size must be at least 1 pixel"
                " (--dataset.image_size),\nchannels 1 or 3 (--dataset.channels)"
            )
        self.image_size = image_size
        self.mode = "RGB" if channels == 3 else "L"
        self.cache = cache
        self.background = _colour(background)
        self.skip_broken = skip_broken
        if image_size is not None:
            self.in_shape = (channels, image_size, image_size)

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        root = _split_folder(data_dir, split)
        if split == "val" and not root.is_dir():
            return None
        trained = _class_folders(data_dir, _split_folder(data_dir, "train"))
        self.classes = sorted({_class_name(folder) for folder in trained})
        paths, labels, others = [], [], [path for path in _visible(root) if not path.is_dir()]
        folders = _class_folders(data_dir, root)
        for folder in folders:
            label, seen = _label(folder, self.classes), set(folder.resolve().parents)
            for path in _files_below(folder, seen):
                if _is_image(path):
                    paths.append(path)
                    labels.append(label)
                else:
                    others.append(path)
        _tell_left_out("that are no images", [f"'{path}'" for path in others])
        _check_classes(split, folders, self.classes, labels)
        x, broken = self._pixels(data_dir, split, paths)
        if broken:
            self._check_broken([(paths[row], reason) for row, reason in broken.items()], len(paths))
            labels = [label for row, label in enumerate(labels) if row not in broken]
            _check_classes(split, folders, self.classes, labels)
        return x, torch.tensor(labels)

    def _pixels(
        self, data_dir: Path, split: str, paths: list[Path]
    ) -> tuple[Tensor, dict[int, str]]:
        """uint8 (N, C, H, W), and why the others of `paths`, by position, can't be read."""
        here = Path(CACHE, *data_dir.resolve().parts[1:])
        name, folders = (
            f"{split}-{self.image_size or 'unresized'}-{self.mode}",
            [data_dir / CACHE, here],
        )
        found = None
        if self.cache:
            key = self._key(data_dir, paths)
            found = cached(folders, name, key, len(paths), lambda: self._decode(paths))
        return found or in_memory(self._decode(paths))

    def _key(self, data_dir: Path, paths: list[Path]) -> str:
        """All that pixels depend on: the files' names, sizes, times (ns) and how they are read."""
        import PIL

        code = inspect.getsource(image_pixels), inspect.getsource(type(self)._read)
        facts: list[object] = [PIL.__version__, self.image_size, self.mode, self.background, code]
        for path in paths:
            name = str(path.relative_to(data_dir))
            try:
                status, readable = path.stat(), os.access(path, os.R_OK)
                facts.append((name, status.st_size, status.st_mtime_ns, readable))
            except OSError as error:
                facts.append((name, error.errno))
        return hashlib.sha256(ascii(facts).encode()).hexdigest()[:16]

    def _decode(self, paths: list[Path]) -> Rows:
        """uint8 (C, H, W) each, or why there is none, in order; a bar where there is a terminal."""
        from rich.console import Console
        from rich.progress import Progress

        first: tuple[Path, Row] | None = None
        broken: list[tuple[Path, str]] = []
        on_terminal = sys.stderr.isatty()
        with Progress(console=Console(stderr=True), transient=True, disable=not on_terminal) as bar:
            task = bar.add_task(f"decoding {len(paths):,} images", total=len(paths))
            for path, image in zip(paths, _in_parallel(self._try, paths), strict=True):
                if isinstance(image, str):
                    broken.append((path, image))
                else:
                    first = first or (path, image)
                    _check_size(first, (path, image))
                yield image
                bar.advance(task)
        self._check_broken(broken, len(paths))

    def _try(self, path: Path) -> Row | str:
        from PIL import UnidentifiedImageError

        try:
            return self._read(path)
        except MemoryError:  # says nothing about the file
            raise
        except UnidentifiedImageError:
            return "empty or no image"
        except Exception as error:  # Pillow raises a dozen types for broken files
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return reason.partition("\n")[0]

    def _read(self, path: Path) -> Row:
        """uint8 (C, H, W) in 0..255"""
        return image_pixels.read_pixels(path, self.mode, self.image_size, self.background)

    def _check_broken(self, broken: list[tuple[Path, str]], total: int) -> None:
        told = [f"'{path}': {reason}" for path, reason in broken]
        if broken and (not self.skip_broken or len(broken) == total):
            raise UserError(
                f"{len(broken)} of {total} images can't be read:\n{_first(told, '; ')}\n"
                "mend or remove them, or leave them out with --dataset.skip_broken true"
            )
        _tell_left_out("that can't be read", told)


def _colour(name: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UserError(
            f"the background '{name}' is no colour; expected white, black, '#8090a0', …\n"
            "(--dataset.background)"
        ) from error


def _first(names: Sequence[str], comma: str = ", ") -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return comma.join(names[:10]) + more


@rank_zero_only
@functools.cache  # once, though a split may be read again
def _print_warning(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _tell_left_out(why: str, names: list[str]) -> None:
    if names:
        files = "1 file" if len(names) == 1 else f"{len(names):,} files"
        _print_warning(f"{files} left out {why}: {_first(names)}")


def _check_size(first: tuple[Path, Row], other: tuple[Path, Row]) -> None:
    (path0, image0), (path, image) = first, other
    if image.shape != image0.shape:
        (_, h, w), (_, h0, w0) = image.shape, image0.shape
        raise UserError(
            f"images differ in size: '{path0}' is {w0}x{h0},\n'{path}' is {w}x{h} "
            "pixels; set --dataset.image_size"
        )


def _in_parallel(read: Callable[[Path], Row | str], paths: list[Path]) -> Rows:
    """map(read, paths) on a thread a core, which are a few images ahead: memory stays flat."""
    workers = os.cpu_count() or 1
    ahead: deque[Future[Row | str]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            ahead.append(pool.submit(read, path))
            if len(ahead) > 8 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _visible(folder: Path) -> list[Path]:
    """By name; without hidden ones and what macOS puts into archives."""
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"can't read the folder '{folder}': {error.strerror}") from error
    return [path for path in found if path.name[0] != "." and path.name != "__MACOSX"]


def _split_folder(data_dir: Path, split: str) -> Path:
    usual = [path for path in _visible(data_dir) if path.name.lower() in SPLITS[split]]
    found = [path for path in usual if path.is_dir()]
    if len(found) > 1:
        raise UserError(
            f"'{found[0]}' and '{found[1]}' are both names of the {split} folder;\n"
            "keep one: rename or merge the other"
        )
    return found[0] if found else data_dir / split


def _class_folders(data_dir: Path, root: Path) -> list[Path]:
    folders = [path for path in _visible(root) if path.is_dir()]
    if not folders:
        raise UserError(
            f"'{root}' {'has no class folders' if root.is_dir() else 'is missing'}; expected\n"
            f"{data_dir}/{{train,val,test}}/<class>/<image files>, where val may be absent; "
            "set --data_dir"
        )
    return folders


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
    return path.suffix.lower() in image_pixels.suffixes() and (path.is_file() or not path.exists())


def _class_name(folder: Path) -> str:
    """Names that look the same are the same, though macOS writes "é" as two characters."""
    return unicodedata.normalize("NFC", folder.name)


def _label(folder: Path, classes: list[str]) -> int:
    name = _class_name(folder)
    if name not in classes:
        raise UserError(
            f"'{folder}' is a class that the training set doesn't have: {_first(classes)}"
        )
    return classes.index(name)


def _check_classes(split: str, folders: list[Path], classes: list[str], labels: list[int]) -> None:
    """Every class is trained on; other splits may lack some."""
    present = {classes[label] for label in labels}
    empty = [f"'{folder}'" for folder in folders if _class_name(folder) not in present]
    if empty and (split == "train" or not labels):
        folder, has = ("folder", "has") if len(empty) == 1 else ("folders", "have")
        raise UserError(
            f"the class {folder} {_first(empty)} {has} no images that can be read\n"
            "(.jpg, .png, .webp, .tif, …): add some, or remove the folder"
        )
