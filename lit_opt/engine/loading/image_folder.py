"""Your own images, one folder per class."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_opt.engine.errors import UserError
from lit_opt.engine.loading.cache import Row, Rows, cached
from lit_opt.engine.loading.source import Source

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
CACHE = ".lit_opt_cache"


class ImageFolder(Source):
    """Your own images in data_dir/{train,val,test}/<class>/*; val may be absent.

    Classes are train's folders in alphabetical order. Images become N * C * H * W bytes, which need
    not fit in memory.

    Args:
        image_size: side in pixels; the shorter side is resized to it and the centre square kept.
            Without it all images must have the same size.
        channels: 3 for RGB, 1 for grey.
        cache: decode once, into data_dir/.lit_opt_cache (or .lit_opt_cache here, if data_dir is
            read-only), and again only when files change; otherwise at every start, into memory.
    """

    def __init__(
        self, image_size: int | None = None, channels: int = 3, cache: bool = True
    ) -> None:
        if channels not in (1, 3) or (image_size is not None and image_size < 1):
            raise UserError(
                f"image_size={image_size}, channels={channels}: image_size must be at least 1 pixel"
                " (--dataset.image_size),\nchannels 1 or 3 (--dataset.channels)"
            )
        self.image_size = image_size
        self.mode = "RGB" if channels == 3 else "L"
        self.cache = cache
        if image_size is not None:
            self.in_shape = (channels, image_size, image_size)

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        if split == "val" and not (data_dir / "val").is_dir():
            return None
        known = self.known_classes or [folder.name for folder in _class_folders(data_dir, "train")]
        self.classes = list(known)
        whose = "checkpoint" if self.known_classes else "training set"
        paths, labels = [], []
        for folder in _class_folders(data_dir, split):
            files = _image_files(folder)
            paths += files
            labels += [_label(folder, self.classes, whose)] * len(files)
        self.sample_names = [_sample_name(path, split) for path in paths]
        x = self._cached(data_dir, split, paths) if self.cache else None
        if x is None:
            x = torch.from_numpy(np.stack(list(self._decode(paths))))
        return x, torch.tensor(labels)

    def _cached(self, data_dir: Path, split: str, paths: list[Path]) -> Tensor | None:
        here = Path(CACHE, *data_dir.resolve().parts[1:])
        name = f"{split}-{self.image_size or 'unresized'}-{self.mode}"
        key = self._key(paths)
        return cached([data_dir / CACHE, here], name, key, len(paths), lambda: self._decode(paths))

    def _key(self, paths: list[Path]) -> str:
        """All that pixels depend on: the files' names, sizes, times (ns) and how they are read."""
        facts: list[object] = [self.image_size, self.mode, inspect.getsource(type(self)._read)]
        for path in paths:
            with _reading(path):
                status = path.stat()
            facts.append((path.parent.name, path.name, status.st_size, status.st_mtime_ns))
        return hashlib.sha256(ascii(facts).encode()).hexdigest()[:16]

    def _decode(self, paths: list[Path]) -> Rows:
        """uint8 (C, H, W) each, in order, of one size; a bar where there is a terminal."""
        from rich.console import Console
        from rich.progress import Progress

        first: tuple[int, ...] = ()
        on_terminal = sys.stderr.isatty()
        with Progress(console=Console(stderr=True), transient=True, disable=not on_terminal) as bar:
            task = bar.add_task(f"decoding {len(paths):,} images", total=len(paths))
            for path, image in zip(paths, _in_parallel(self._read, paths), strict=True):
                first = first or image.shape
                if image.shape != first:
                    (_, h, w), (_, h0, w0) = image.shape, first
                    raise UserError(
                        f"images differ in size: '{paths[0]}' is {w0}x{h0},\n'{path}' is {w}x{h} "
                        "pixels; set --dataset.image_size"
                    )
                yield image
                bar.advance(task)

    def _read(self, path: Path) -> Row:
        """uint8 (C, H, W) in 0..255"""
        from PIL import Image, ImageOps

        with _reading(path), Image.open(path) as file:
            if file.mode.startswith(("I", "F")):  # Pillow would clip it at 255
                raise ValueError("it has more than 8 bits per channel")
            if self.image_size is not None:
                # JPEGs: halved while decoding, down to twice the size that is needed.
                file.draft(self.mode, (2 * self.image_size,) * 2)
            image = file.convert(self.mode)
        if self.image_size is not None:
            image = ImageOps.fit(image, (self.image_size,) * 2, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files
        raise UserError(f"can't read the image '{path}': {error}") from error


def _in_parallel(read: Callable[[Path], Row], paths: list[Path]) -> Iterator[Row]:
    """map(read, paths) on a thread a core, which are a few images ahead: memory stays flat."""
    workers = os.cpu_count() or 1
    ahead: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            ahead.append(pool.submit(read, path))
            if len(ahead) > 8 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _class_folders(data_dir: Path, split: str) -> list[Path]:
    root = data_dir / split
    found = sorted(root.iterdir()) if root.is_dir() else []
    folders = [path for path in found if path.is_dir() and path.name[0] != "."]
    if not folders:
        raise UserError(
            f"'{root}' {'has no class folders' if root.is_dir() else 'is missing'}; expected\n"
            f"{data_dir}/{{train,val,test}}/<class>/<image files>, where val may be absent; "
            "set --data_dir"
        )
    return folders


def _image_files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    files = [path for path in found if path.name[0] != "."]
    if not files:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise UserError(f"the class folder '{folder}' has no images ({suffixes})")
    return files


def _sample_name(path: Path, split: str) -> str:
    """Its size tells a file from another one that takes its name later."""
    with _reading(path):
        return f"{split}/{path.parent.name}/{path.name} {path.stat().st_size}"


def _label(folder: Path, classes: list[str], whose: str) -> int:
    if folder.name not in classes:
        known = ", ".join(classes[:10])
        raise UserError(f"'{folder}' is a class that the {whose} doesn't have: {known}")
    return classes.index(folder.name)
