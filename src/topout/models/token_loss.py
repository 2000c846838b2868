"""The loss of guessing tokens, and the label that counts for nothing."""

import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # as in transformers


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in fp32 of logits [B, S, V] at labels [B, S], those IGNORED left out.

    It is no number where all are.
    """
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED)
