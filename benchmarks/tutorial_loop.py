"""The tutorial's loop as people write it, its bugs mended, to hold lit-opt's accuracy against.

    python benchmarks/tutorial_loop.py --data_dir data --seeds 5

The recipe is that of configs/tutorial.yaml: Fashion-MNIST, 54,000 samples for training, pixels in
[0, 1], 784-512-512-10, SGD with lr 0.01, batches of 64, cross entropy, 5 epochs.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

learning_rate, batch_size, num_epochs = 0.01, 64, 5


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.ReLU()),
        nn.Linear(512, 10),
    )


def evaluate(model: nn.Module, dataloader: DataLoader) -> float:
    """Accuracy in [0, 1]."""
    model.eval()
    correct = 0.0
    with torch.no_grad():
        for inputs, labels in dataloader:
            correct += (model(inputs).argmax(1) == labels).type(torch.float).sum().item()
    return correct / len(dataloader.dataset)


def train(data_dir: str, seed: int) -> float:
    """Test accuracy in [0, 1] after `num_epochs`."""
    torch.manual_seed(seed)
    official = FashionMNIST(data_dir, train=True, transform=ToTensor())
    test_data = FashionMNIST(data_dir, train=False, transform=ToTensor())
    train_data, val_data = random_split(official, [54_000, 6_000])
    train_dataloader = DataLoader(train_data, batch_size, shuffle=True)
    model, cost_function = make_model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(num_epochs):
        model.train()
        for inputs, labels in train_dataloader:
            optimizer.zero_grad()
            loss = cost_function(model(inputs), labels)
            loss.backward()
            optimizer.step()
        evaluate(model, DataLoader(val_data, 256))
    return evaluate(model, DataLoader(test_data, 256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data", help="folder that has FashionMNIST/raw")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 1 to N")
    args = parser.parse_args()
    began = time.perf_counter()
    scores = [train(args.data_dir, seed) for seed in range(1, args.seeds + 1)]
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    print(f"test/acc   {statistics.mean(scores):.4f} ± {spread:.4f}  (n = {len(scores)})")
    print(f"seconds    {(time.perf_counter() - began) / len(scores):.1f}")


if __name__ == "__main__":
    main()
