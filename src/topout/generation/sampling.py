"""How the next token is chosen from logits: greedily, or at a temperature among the likeliest."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy; of `top_k` and `top_p` None keeps the whole vocabulary.

    `top_p` keeps the likeliest tokens that have this probability together, of what `top_k` left.
    Draws come from `generator`, by default torch's own.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    generator: torch.Generator | None = field(default=None, compare=False)

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
        found = torch.softmax(logits, dim=-1)
        return found if self.top_p is None else _nucleus(found, self.top_p)

    def choose(self, logits: Tensor) -> Tensor:
        """Logits [B, V] → tokens [B, 1] int64."""
        if self.greedy:
            return logits.argmax(dim=-1, keepdim=True)
        return draw(self.probabilities(logits), self.generator)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens until they have `top_p` together, one at least, made to sum to 1."""
    ordered, places = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered  # what the likelier ones have
    before[..., 0] = 0.0  # whatever rounding makes of it
    kept = torch.zeros_like(ordered).scatter_(-1, places, ordered.masked_fill(before >= top_p, 0.0))
    return kept / kept.sum(dim=-1, keepdim=True)


def draw(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw from distributions [..., V] → tokens [..., 1], without waiting for the device.

    The exponential race: argmax of p/e with e ~ Exp(1) falls on token i with probability p[i].
    """
    race = torch.empty_like(probabilities).exponential_(1.0, generator=generator)
    return (probabilities / race).argmax(dim=-1, keepdim=True)
