"""A folder of JPEGs: decoded every epoch, or once into lit-opt's cache. Seconds and ratios.

python benchmarks/image_folder.py [--images 60000] [--side 160] [--image_size 64] [--rounds 3]
"""

import argparse
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from lit_opt.datamodule import ImageData
from lit_opt.sources import ImageFolder

CLASSES = 10
BATCH_SIZE = 64


def write(root: Path, images: int, side: int) -> None:
    """`root/train/<class>/<index>.jpg`: smooth noise, side × side pixels, as big as photographs."""

    def save(index: int) -> None:
        coarse = np.random.default_rng(index).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        image.save(root / "train" / str(index % CLASSES) / f"{index}.jpg", quality=90)

    for label in range(CLASSES):
        (root / "train" / str(label)).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(save, range(images)))


def decoding_each_time(root: Path, size: int, num_workers: int) -> Callable[[], object]:
    """An epoch of torchvision's ImageFolder in PyTorch's DataLoader; its workers stay."""
    steps = [
        transforms.Resize(size),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.25] * 3),
    ]
    loader = DataLoader(
        datasets.ImageFolder(root / "train", transforms.Compose(steps)),
        BATCH_SIZE,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    return lambda: deque(loader, maxlen=0)


def lit_opt(root: Path, size: int) -> ImageData:
    """Reads the data, as at the start of a run."""
    data = ImageData(ImageFolder(size), data_dir=str(root), batch_size=BATCH_SIZE, val_fraction=0.0)
    data.setup("fit")
    return data


def epoch(data: ImageData) -> None:
    for batch in data.train_dataloader():
        data.on_after_batch_transfer(batch, 0)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_round(root: Path, size: int, loaders: dict[str, Callable[[], object]]) -> dict[str, float]:
    times = {name: seconds(loader) for name, loader in loaders.items()}
    shutil.rmtree(root / ".lit_opt_cache", ignore_errors=True)
    times["lit-opt, first epoch, decodes all"] = seconds(lambda: epoch(lit_opt(root, size)))
    times["lit-opt, first epoch of a later run"] = seconds(lambda: epoch(lit_opt(root, size)))
    data = lit_opt(root, size)
    epoch(data)
    times["lit-opt, second epoch on"] = seconds(lambda: epoch(data))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("images", 2000), ("side", 160), ("image_size", 64), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, options.images, options.side)
        loaders = {
            f"torchvision, {n} workers": decoding_each_time(root, options.image_size, n)
            for n in (0, 2)
        }
        rounds = [one_round(root, options.image_size, loaders) for _ in range(options.rounds)]
    print(f"{'median':42}seconds    0 workers / it    2 workers / it")
    for name in rounds[0]:
        ratios = [median(r[loader] / r[name] for r in rounds) for loader in loaders]
        print(
            f"{name:40}{median(r[name] for r in rounds):9.3f}{ratios[0]:14.1f} ×{ratios[1]:15.1f} ×"
        )


if __name__ == "__main__":
    main()
