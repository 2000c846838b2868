"""How many tokens a verification pass would yield, foretold from the baseline's own output.

A greedy speculation yields the baseline's tokens whatever it proposes, so what a proposer would
have got right can be read off them without running the rung: for the lookup by replaying its
n-gram index, for a draft model by one pass of the draft over the text.
"""

import torch
from torch import Tensor

from topout.generation.build import Build
from topout.generation.speculation import PROPOSED_TOKENS
from topout.models.load import load_decoder
from topout.rungs.speculate_draft import SpeculateDraft
from topout.rungs.speculate_lookup import NgramIndex, SpeculateLookup


def expected_tokens_per_pass(
    prompts: Tensor, continuations: Tensor, build: Build
) -> dict[str, float]:
    """Rung name → tokens per pass on prompts [W, S] that the baseline continued [W, T]."""
    yielded = lookup_tokens_per_pass(prompts, continuations, PROPOSED_TOKENS)
    expected = {SpeculateLookup.name: yielded}
    if build.draft is not None and SpeculateDraft().reason_to_skip(build) is None:
        expected[SpeculateDraft.name] = _draft_tokens_per_pass(prompts, continuations, build)
    return expected


def lookup_tokens_per_pass(prompts: Tensor, continuations: Tensor, count: int) -> float:
    """Replay the n-gram index over prompts [W, S] and their continuations [W, T]."""
    passes = 0
    for prompt, continuation in zip(prompts.tolist(), continuations.tolist(), strict=True):
        tokens = [*prompt, continuation[0]]
        whole = [*prompt, *continuation]
        index = NgramIndex()
        while len(tokens) < len(whole):
            proposed = index.continuation(tokens, count)
            ahead = whole[len(tokens) : len(tokens) + count]
            tokens = whole[: len(tokens) + _agreeing(proposed, ahead) + 1]
            passes += 1
    produced = continuations.shape[0] * (continuations.shape[1] - 1)
    return produced / max(1, passes)


def _agreeing(proposed: list[int], actual: list[int]) -> int:
    accepted = 0
    for ours, theirs in zip(proposed, actual, strict=False):
        if ours != theirs:
            break
        accepted += 1
    return accepted


@torch.inference_mode()
def _draft_tokens_per_pass(prompts: Tensor, continuations: Tensor, build: Build) -> float:
    """Teacher-forced: the draft's choice at each position of the baseline's text."""
    assert build.draft is not None
    draft = load_decoder(build.draft, dtype=build.dtype, device=str(build.device))
    texts = torch.cat([prompts, continuations], dim=1).to(build.device)
    positions = torch.arange(texts.shape[1] - 1, device=build.device)
    passes = produced = 0
    for text in texts:
        choices = draft(text[None, :-1], positions)[0].argmax(dim=-1)  # choice i is of token i + 1
        right = (choices == text[1:])[prompts.shape[1] :].tolist()
        passes += passes_needed(right, PROPOSED_TOKENS)
        produced += len(right)
    return produced / max(1, passes)


def passes_needed(right: list[bool], count: int) -> int:
    """Verification passes over a text where proposal i would be `right[i]`, `count` a pass."""
    position = passes = 0
    while position < len(right):
        accepted = 0
        while accepted < count and position + accepted < len(right) and right[position + accepted]:
            accepted += 1
        position += accepted + 1
        passes += 1
    return passes
