"""Train, validate and test a model from one command, on PyTorch Lightning."""

__version__ = "0.1.0"
