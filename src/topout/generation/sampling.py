"""How the next token is chosen from logits: greedily, or at a temperature among the top k."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy; `top_k` None keeps the whole vocabulary."""

    temperature: float = 0.0
    top_k: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken."""
        return self.temperature == 0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits [..., V] → the distribution [..., V] in fp32 that tokens are drawn from.

        Greedy is the one-hot distribution of the largest logit (the first one on a tie).
        """
        logits = logits.float()
        if self.greedy:
            best = logits.argmax(dim=-1, keepdim=True)
            return torch.zeros_like(logits).scatter_(-1, best, 1.0)
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        return torch.softmax(logits, dim=-1)

    def choose(self, logits: Tensor) -> Tensor:
        """Logits [B, V] → tokens [B, 1] int64."""
        if self.greedy:
            return logits.argmax(dim=-1, keepdim=True)
        return draw(self.probabilities(logits))


def draw(probabilities: Tensor) -> Tensor:
    """Draw from distributions [..., V] → tokens [..., 1], without waiting for the device.

    The exponential race: argmax of p/e with e ~ Exp(1) falls on token i with probability p[i].
    """
    race = torch.empty_like(probabilities).exponential_(1.0)
    return (probabilities / race).argmax(dim=-1, keepdim=True)
