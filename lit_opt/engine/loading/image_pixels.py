"""The pixels of one image file, as a person sees them."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

# Stubs without a decoder, films, and what needs a program (EPS runs Ghostscript) or Windows.
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
# EXIF's orientation -> how to turn the image upright; 1 is upright.
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE"), 2))
TURNS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


@cache
def suffixes() -> dict[str, str]:
    """{".jpg": "JPEG", ...} of what Pillow and its plugins registered so far (HEIF) can open."""
    from PIL import Image

    known = Image.registered_extensions()  # also fills OPEN
    return {s: f for s, f in known.items() if f in Image.OPEN and f not in NO_PICTURES}


def read_pixels(
    path: Path, mode: str, size: int | None, background: tuple[int, ...]
) -> NDArray[np.uint8]:
    """uint8 (C, H, W) in 0..255 of the first frame: upright, transparency over `background` (RGB).

    mode: "RGB" or "L". size: the shorter side is resized to it, the centre square kept.
    """
    from PIL import Image, ImageOps

    with Image.open(path, formats=_formats()) as file:
        if size is not None:
            # JPEGs: halved while decoding, down to twice the size that is needed.
            file.draft(mode, (2 * size,) * 2)
        file.load()
        image, turn = _in_srgb(_eight_bits(file), file), TURNS.get(_orientation(file))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    image = image.convert(mode)
    if turn:
        image = image.transpose(Image.Transpose[turn])
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1))


@cache
def _formats() -> tuple[str, ...]:
    """In Pillow's order. Without it, an EPS file called a.png would be run by Ghostscript."""
    from PIL import Image

    known = suffixes().values()  # which fills ID
    return tuple(format for format in Image.ID if format in known)


def _orientation(file: Image.Image) -> int:
    """Not ImageOps.exif_transpose, which fails where it can't write the EXIF data anew."""
    try:
        return int(file.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF data; the pixels are there
        return 1


def _in_srgb(image: Image.Image, file: Image.Image) -> Image.Image:
    """The same in the colours of sRGB, if the file says by an ICC profile that it has others.

    A profile that is damaged, or is not for this kind of pixels, counts as none.
    """
    from PIL import ImageCms

    profile = file.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "P"):  # such as greys
        return image
    try:
        own = ImageCms.getOpenProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image
        if image.mode != "CMYK":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        mode = "RGB" if image.mode == "CMYK" else image.mode
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, own, srgb, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _eight_bits(file: Image.Image) -> Image.Image:
    """16-bit grey is scaled, 65535 to 255; raises ValueError where the range isn't known."""
    from PIL import Image, ImageCms

    if file.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(file, lab, rgb, outputMode="RGB") or file
    if not file.mode.startswith(("I", "F")):
        return file
    # Pillow has 16-bit PGM, and in older versions PNG, as 32-bit integers in 0..65535.
    if not (file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM"))):
        kind = "floating-point numbers" if file.mode[0] == "F" else "signed or 32-bit integers"
        raise ValueError(f"its pixels are {kind} of unknown range; save it with 8 or 16 bits")
    values = np.asarray(file).astype(np.int64)
    if getattr(file, "tag_v2", {}).get(262) == 0:  # TIFF: 0 is white, which Pillow leaves to us
        values = 65535 - values
    image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if "transparency" not in file.info:
        return image
    opaque = np.where(values == file.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", (image, Image.fromarray(opaque)))
