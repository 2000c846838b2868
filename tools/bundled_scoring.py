"""How well a trained model predicts held-out text, and how well a draft predicts its target."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How well a model predicts text that it was not trained on."""

    tokens: int
    text_bytes: int
    nats_per_token: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a target model would take the token that its draft proposes; both 0 to 1."""

    greedy: float
    sampled: float


def scored_windows(ids: Sequence[int], context_len: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, each [1, at most context_len], that score every token but the first."""
    tokens = torch.tensor(ids)
    for start in range(0, len(ids) - 1, context_len):
        window = tokens[start : start + context_len + 1]
        yield window[None, :-1], window[None, 1:]


@torch.inference_mode()
def score(
    model: GPT2LMHeadModel, documents: Sequence[Sequence[int]], text_bytes: int
) -> HeldOutScore:
    """Held-out loss in the weights' own precision.

    Each document starts with end-of-text, which is read but not scored, and is cut into windows
    of the model's full context that share no tokens: a token has half a context before it on
    average.
    """
    nats, tokens = 0.0, 0
    for ids in documents:
        for inputs, targets in scored_windows(ids, model.config.n_positions):
            logits = model(input_ids=inputs).logits[0].float()
            nats += float(functional.cross_entropy(logits, targets[0], reduction="sum"))
            tokens += targets.numel()
    return HeldOutScore(tokens, text_bytes, nats / tokens, nats / math.log(2) / text_bytes)


@torch.inference_mode()
def measure_agreement(
    draft: GPT2LMHeadModel, target: GPT2LMHeadModel, documents: Sequence[Sequence[int]]
) -> Agreement:
    """The share of drafted tokens that the target takes, on the held-out text.

    Greedy: both find the same next token most likely. Sampled at temperature 1: the sum over the
    vocabulary of min(p_draft, p_target), which is the chance that speculative sampling accepts
    (Leviathan et al. 2023, corollary 3.6).
    """
    same, overlap, positions = 0.0, 0.0, 0
    for ids in documents:
        for inputs, _ in scored_windows(ids, target.config.n_positions):
            proposed = draft(input_ids=inputs).logits.float().softmax(-1)
            wanted = target(input_ids=inputs).logits.float().softmax(-1)
            same += float((proposed.argmax(-1) == wanted.argmax(-1)).sum())
            overlap += float(torch.minimum(proposed, wanted).sum())
            positions += inputs.numel()
    return Agreement(same / positions, overlap / positions)
