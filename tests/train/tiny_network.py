"""Networks for the tests, small enough to train in milliseconds; some of them fail on purpose."""

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.train.plan import Plan

VOCAB_SIZE, WIDTH, CLASSES = 64, 8, 4
PARAMETERS = VOCAB_SIZE * WIDTH + WIDTH * CLASSES + CLASSES


class TinyClassifier(nn.Module):
    """The mean of a sample's embeddings, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen = mask[..., None].to(self.embedding.weight.dtype)
        hidden = (self.embedding(tokens % VOCAB_SIZE) * seen).sum(1) / seen.sum(1)
        logits = self.head(hidden)
        return F.cross_entropy(logits, labels), logits


class _FailsAt(TinyClassifier):
    """On rank 1 the forward pass of this number is the last."""

    passes = 5

    def forward(self, tokens: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.passes -= 1
        if os.environ["RANK"] == "1" and self.passes == 0:
            raise ArithmeticError("the sky is falling on rank 1")
        return super().forward(tokens, mask, labels)


def build(plan: Plan) -> nn.Module:
    return TinyClassifier()


def build_failing(plan: Plan) -> nn.Module:
    return _FailsAt()


def seeded() -> TinyClassifier:
    """The same weights in every process."""
    torch.manual_seed(7)
    return TinyClassifier()
