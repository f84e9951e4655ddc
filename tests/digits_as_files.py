"""Writes scikit-learn's digits as PNG files, for configs/image_folder.yaml to be tried on.

python tests/digits_as_files.py data/images
"""

import sys
from pathlib import Path

from PIL import Image

from lit_opt.sources import Digits


def write(root: Path) -> None:
    """`root/{train,test}/<digit>/<index>.png`, 8×8 grey."""
    for split in ("train", "test"):
        loaded = Digits().load(root, split)
        assert loaded is not None
        for index, (image, label) in enumerate(zip(*loaded, strict=True)):
            folder = root / split / str(label.item())
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
