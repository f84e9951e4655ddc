"""A character-level language model: the text, a small GPT in plain torch, and how it writes.

Legend: B samples, T places (characters), V characters of the alphabet, E width, H heads.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.base.targets import NextToken
from lit_opt.module import LitModule
from lit_opt.sources import Source


class PythonManual(Source):
    """What Python's `help("topics")` shows, 0.5 million characters: 80, 10 and 10 %.

    Args:
        length: T, characters of a sample. Training samples begin every T/4 characters.
    """

    targets = NextToken()

    def __init__(self, length: int = 64) -> None:
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
        self.classes = sorted(set(text))  # the V characters by their numbers
        self.num_classes, self.in_shape, self.length = len(self.classes), (length,), length
        number = {character: k for k, character in enumerate(self.classes)}
        self.tokens = torch.tensor([number[c] for c in text])  # (characters,)

    def load(self, data_dir: Path, split: str) -> tuple[Tensor, Tensor]:
        tenth = len(self.tokens) // 10
        first, end = {"train": (0, 8), "val": (8, 9), "test": (9, 10)}[split]
        part = self.tokens[first * tenth : end * tenth]
        step = self.length // 4 if split == "train" else self.length
        windows = part.unfold(0, self.length + 1, step)  # (N, T + 1)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()  # x, y: (N, T) each


class Block(nn.Module):
    """Attention to the places before, then an MLP at each place; both are added to x."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, E/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, E/H) each
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))  # (B, H, T, E/H) -> (B, T, E)
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # (B, T, E)


class GPT(nn.Module):
    """Tokens int64 (B, T) to logits float (B, T, V); the sizes are those of nanoGPT's CPU run.

    Args:
        num_classes: V, characters of the alphabet.
        in_shape: (T,); shorter samples are taken, too.
        depth: Blocks.
        width: E, numbers that describe a place.
        heads: Heads of the attention, a divisor of the width.
        dropout: Probability of zeroing an attention weight, in training.
    """

    def __init__(
        self,
        num_classes: int = 128,
        in_shape: tuple[int, ...] = (64,),
        depth: int = 4,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(num_classes, width), nn.Embedding(in_shape[0], width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes, bias=False)
        self.head.weight = self.token.weight  # Press and Wolf 2017
        for name, p in self.named_parameters():  # GPT-2's initial weights
            if p.ndim == 2:
                last = name.endswith(("out.weight", "down.weight"))  # added up by every block
                nn.init.normal_(p, std=0.02 / (2 * depth) ** 0.5 if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)  # (T,)
        y = self.token(x) + self.place(places)  # (B, T, E)
        return self.head(self.norm(self.blocks(y)))  # (B, T, V)


class CharLM(LitModule):
    """LitModule that writes: `predict` goes on with the beginning of every test sample.

    Args:
        prompt: Characters of a test sample that are given.
        written: Characters that are added.
        temperature: Logits are divided by it; below 1 likely characters become likelier.
    """

    def __init__(
        self, prompt: int = 32, written: int = 200, temperature: float = 0.8, **others: Any
    ) -> None:
        super().__init__(**others)
        self.prompt, self.written, self.temperature = prompt, written, temperature

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        """One text a sample; they end up in predictions.txt."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        x, length = batch[0][:, : self.prompt], data.in_shape[0]  # (B, prompt)
        for _ in range(self.written):
            logits = self(x[:, -length:])[:, -1] / self.temperature  # (B, V)
            x = torch.cat([x, torch.multinomial(logits.softmax(1), 1)], dim=1)  # (B, … + 1)
        return ["".join(data.class_names[k] for k in row) for row in x.tolist()]
