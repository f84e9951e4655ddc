"""Your own images, one folder per class."""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lit_opt.engine.base.errors import UserError, warn_once
from lit_opt.engine.base.targets import Classes
from lit_opt.engine.base.terminal import long_step
from lit_opt.engine.loading import image_pixels
from lit_opt.engine.loading.cache import Found, Row, Rows, cached, in_memory
from lit_opt.engine.loading.class_folders import (
    check_classes,
    class_folders,
    find_images,
    first_of,
    images_without_classes,
    is_unsplit,
    split_folder,
)
from lit_opt.engine.loading.source import Source
from lit_opt.engine.loading.split import every_fifth

CACHE = ".lit_opt_cache"


class ImageFolder(Source):
    """Your own images in data_dir/{train,val,test}/<class>/**; val may be absent.

    Or in data_dir/<class>/**: then every fifth of each class is a test sample. Also training,
    valid, validation, testing, in upper or lower case. Classes are train's folders in alphabetical
    order; hidden files and folders are skipped. Images are upright, 16-bit grey is scaled. They
    become N * C * H * W bytes, which need not fit in memory.

    Args:
        image_size: side in pixels; the shorter side is resized to it and the centre square kept.
            Without it all images must have the same size.
        channels: 3 for RGB, 1 for grey.
        cache: decode once, into data_dir/.lit_opt_cache (or .lit_opt_cache here, if data_dir is
            read-only), and again only when files change; otherwise at every start, into memory.
        background: colour behind transparent pixels: white, black, "#8090a0", "rgb(128,144,160)".
        skip_broken: leave out images that can't be read, and say which; otherwise an error.
    """

    targets: Classes | None = Classes()

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
        if split == "val" and not split_folder(data_dir, split).is_dir():
            return None
        self.classes = list(self.known_classes or _classes_of(data_dir))
        paths: list[Path] = []
        if split == "test" and not self.labelled:
            paths = images_without_classes(data_dir, self.classes)
        labels = [0] * len(paths)
        if not paths:
            paths, labels = self._find_labelled(data_dir, split)
        x, broken = self._pixels(data_dir, split, paths)
        if broken:
            self._check_broken(broken, paths)
            labels = [label for place, label in enumerate(labels) if place not in broken]
            paths = [path for place, path in enumerate(paths) if place not in broken]
            if self.labelled:
                check_classes(data_dir, split, self.classes, labels)
        root = split_folder(data_dir, split)  # which has several names
        self.sample_names = [_sample_name(path, root, split) for path in paths]
        self.files = [str(path) for path in paths]
        return x, torch.tensor(labels)

    def _find_labelled(self, data_dir: Path, split: str) -> tuple[list[Path], list[int]]:
        whose = "checkpoint" if self.known_classes else "training set"
        paths, labels, others = find_images(data_dir, split, self.classes or (), whose)
        _tell_left_out("not an image", [f"'{path}'" for path in others])
        if is_unsplit(data_dir):
            test = every_fifth(torch.tensor(labels)).tolist()
            rows = [row for row, held in enumerate(test) if held == (split == "test")]
            paths, labels = [paths[row] for row in rows], [labels[row] for row in rows]
        check_classes(data_dir, split, self.classes or (), labels)
        return paths, labels

    def _pixels(self, data_dir: Path, split: str, paths: list[Path]) -> Found:
        """uint8 (N, C, H, W), and by place why the others of `paths` can't be read."""
        here = Path(CACHE, *data_dir.resolve().parts[1:])
        name = f"{split}-{self.image_size or 'unresized'}-{self.mode}"
        found = self.cache and cached(
            [data_dir / CACHE, here],
            name,
            self._key(data_dir, paths),
            len(paths),
            lambda: self._decode(paths),
        )
        return found or in_memory(self._decode(paths))

    def _key(self, data_dir: Path, paths: list[Path]) -> str:
        """All that pixels depend on: the files' names, sizes, times (ns) and how they are read."""
        import PIL

        code = inspect.getsource(image_pixels), inspect.getsource(type(self)._read)
        facts: list[object] = [PIL.__version__, self.image_size, self.mode, self.background, code]
        for path in paths:
            name = os.path.relpath(path, data_dir)
            try:
                status, readable = path.stat(), os.access(path, os.R_OK)
                facts.append((name, status.st_size, status.st_mtime_ns, readable))
            except OSError as error:
                facts.append((name, error.errno))
        return hashlib.sha256(ascii(facts).encode()).hexdigest()[:16]

    def _decode(self, paths: list[Path]) -> Rows:
        """uint8 (C, H, W) each, or why there is none, in order."""
        first: tuple[Path, Row] | None = None
        broken: dict[int, str] = {}
        place = 0
        with long_step(lambda: f"decoding images, {place:,} of {len(paths):,}"):
            for place, image in enumerate(_in_parallel(self._try, paths)):
                if isinstance(image, str):
                    broken[place] = image
                else:
                    first = first or (paths[place], image)
                    _check_size(*first, paths[place], image)
                yield image
        self._check_broken(broken, paths)

    def _try(self, path: Path) -> Row | str:
        from PIL import UnidentifiedImageError

        try:
            return self._read(path)
        except UnidentifiedImageError:
            return "empty or no image"
        except Exception as error:  # Pillow raises a dozen types for broken files
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", 0)
            if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):  # not the file's fault
                raise UserError(f"can't read '{path}': {reason}") from error
            return reason.partition("\n")[0]

    def _read(self, path: Path) -> Row:
        """uint8 (C, H, W) in 0..255"""
        return image_pixels.read_pixels(path, self.mode, self.image_size, self.background)

    def _check_broken(self, broken: dict[int, str], paths: list[Path]) -> None:
        told = [f"'{paths[place]}': {reason}" for place, reason in broken.items()]
        if broken and (not self.skip_broken or len(broken) == len(paths)):
            raise UserError(
                f"{len(broken)} of {len(paths)} images can't be read:\n{first_of(told, '; ')}\n"
                "mend or remove them, or leave them out with --dataset.skip_broken true"
            )
        _tell_left_out("can't be read", told)


def _colour(name: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UserError(
            f"the background '{name}' is no colour; expected white, black, '#8090a0', …\n"
            "(--dataset.background)"
        ) from error


def _tell_left_out(why: str, names: list[str]) -> None:
    if names:
        files = "1 file" if len(names) == 1 else f"{len(names):,} files"
        warn_once(f"{files} left out ({why}): {first_of(names)}")


def _check_size(path0: Path, image0: Row, path: Path, image: Row) -> None:
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


def _sample_name(path: Path, root: Path, split: str) -> str:
    """Its size tells a file from another one that takes its name later."""
    return f"{split}/{os.path.relpath(path, root)} {path.stat().st_size}"


def _classes_of(data_dir: Path) -> list[str]:
    return sorted({name for name, _ in class_folders(data_dir, "train")})
