"""Your own images, one folder per class."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lit_opt.data.sources import Source
from lit_opt.errors import UserError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class ImageFolder(Source):
    """Your own images in data_dir/{train,val,test}/<class>/*; val may be absent.

    All are kept in memory: N * C * H * W bytes. Classes are train's folders in alphabetical order.

    Args:
        image_size: side in pixels; the shorter side is resized to it and the centre square kept.
            Without it all images must have the same size.
        channels: 3 for RGB, 1 for grey.
    """

    def __init__(self, image_size: int | None = None, channels: int = 3) -> None:
        if channels not in (1, 3) or (image_size is not None and image_size < 1):
            raise UserError(
                f"image_size={image_size}, channels={channels}: image_size must be at least 1 pixel"
                " (--dataset.image_size),\nchannels 1 or 3 (--dataset.channels)"
            )
        self.image_size = image_size
        self.mode = "RGB" if channels == 3 else "L"
        if image_size is not None:
            self.in_shape = (channels, image_size, image_size)

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor] | None:
        if split == "val" and not (data_dir / "val").is_dir():
            return None
        self.classes = [folder.name for folder in _class_folders(data_dir, "train")]
        paths, labels = [], []
        for folder in _class_folders(data_dir, split):
            files = _image_files(folder)
            paths += files
            labels += [_label(folder, self.classes)] * len(files)
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(self._read, paths))
        _check_sizes(paths, images)
        return torch.stack(images), torch.tensor(labels)

    def _read(self, path: Path) -> Tensor:
        """uint8 (C, H, W) in 0..255"""
        from PIL import Image, ImageOps
        from torchvision.transforms.v2.functional import pil_to_tensor

        try:
            with Image.open(path) as file:
                if file.mode.startswith(("I", "F")):  # Pillow would clip it at 255
                    raise ValueError("it has more than 8 bits per channel")
                image = file.convert(self.mode)
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files
            raise UserError(f"can't read the image '{path}': {error}") from error
        if self.image_size is not None:
            image = ImageOps.fit(image, (self.image_size,) * 2, Image.Resampling.BILINEAR)
        tensor: Tensor = pil_to_tensor(image)
        return tensor


def _class_folders(data_dir: Path, split: str) -> list[Path]:
    root = data_dir / split
    found = sorted(root.iterdir()) if root.is_dir() else []
    folders = [path for path in found if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise UserError(
            f"'{root}' {'has no class folders' if root.is_dir() else 'is missing'}; expected\n"
            f"{data_dir}/{{train,val,test}}/<class>/<image files>, where val may be absent; "
            "set --data_dir"
        )
    return folders


def _image_files(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise UserError(
            f"the class folder '{folder}' has no images ({', '.join(sorted(SUFFIXES))})"
        )
    return files


def _label(folder: Path, classes: list[str]) -> int:
    if folder.name not in classes:
        raise UserError(
            f"'{folder}' is a class that the training set doesn't have: {', '.join(classes[:10])}"
        )
    return classes.index(folder.name)


def _check_sizes(paths: list[Path], images: list[Tensor]) -> None:
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            (_, h, w), (_, h0, w0) = image.shape, images[0].shape
            raise UserError(
                f"images differ in size: '{paths[0]}' is {w0}x{h0},\n'{path}' is {w}x{h} pixels; "
                "set --dataset.image_size"
            )
