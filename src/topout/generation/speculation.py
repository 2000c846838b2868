"""Speculative generation: cheap proposals, verified by the model in one pass, nothing changed.

Accept a proposed token x with probability min(1, p(x)/q(x)); on the first rejection draw from the
normalised positive part of p − q; if all are accepted, draw one more from p. The tokens are then
distributed as the model's own (Leviathan et al. 2023, arXiv 2211.17192, appendix A.1). Greedy is
the case in which p is one-hot: a proposal is accepted when it is the model's argmax.
"""

import time
from typing import Protocol

import torch
from torch import Tensor

from topout.generation.sampling import Sampling, draw
from topout.generation.session import DecoderSession, GeneratedRun, wait_for

PROPOSED_TOKENS = 4  # per verification pass


class Proposer(Protocol):
    """Where proposals come from."""

    def begin(self, prompt: Tensor, sampling: Sampling) -> None:
        """A new prompt [1, S], and how tokens that follow it are chosen."""
        ...

    def propose(self, tokens: list[int], count: int) -> tuple[Tensor, Tensor | None]:
        """`count` tokens [1, count] that may follow `tokens` (prompt and all accepted so far).

        With them q [count, V], the distributions they were drawn from; None where each was
        certain (q one-hot).
        """
        ...


class SpeculativeSession(DecoderSession):
    """A generation loop in which a pass of the model verifies several proposed tokens at once.

    It takes the place of a plain session over the same steps; `draft_bytes` are those of a draft
    model that proposes.
    """

    def __init__(self, plain: DecoderSession, proposer: Proposer, draft_bytes: int = 0) -> None:
        super().__init__(plain.steps, plain.sampling, plain.device)
        self.proposer = proposer
        self.weight_bytes += draft_bytes

    @torch.inference_mode()
    def generate(self, prompt: Tensor, new_tokens: int) -> GeneratedRun:
        """Prompt [1, S] → [1, new_tokens]."""
        prompt = prompt.to(self.device)
        tokens: list[int] = prompt[0].tolist()
        began = time.perf_counter()
        tokens.append(int(self.sampling.choose(self.steps.prefill(prompt))))
        wait_for(self.device)
        first = time.perf_counter()
        self.proposer.begin(prompt, self.sampling)
        end = prompt.shape[1] + new_tokens
        passes = 0
        while len(tokens) < end:
            tokens.extend(self.next_tokens(tokens))
            passes += 1
        ended = time.perf_counter()
        generated = torch.tensor([tokens[prompt.shape[1] : end]])
        return GeneratedRun(
            tokens=generated, ttft_s=first - began, total_s=ended - began, forward_passes=passes
        )

    def next_tokens(self, tokens: list[int]) -> list[int]:
        """One pass: 1 to PROPOSED_TOKENS + 1 tokens that follow `tokens`.

        The cache holds all of `tokens` but the last.
        """
        proposed, q = self.proposer.propose(tokens, PROPOSED_TOKENS)
        last = torch.tensor([[tokens[-1]]], device=self.device)
        chunk = torch.cat([last, proposed], dim=1)  # [1, count + 1]
        logits = self.steps.extend(chunk, len(tokens) - 1)[0]  # [count + 1, V]
        if self.sampling.greedy:
            return accept_greedily(proposed[0].tolist(), logits.argmax(dim=-1).tolist())
        probabilities = self.sampling.probabilities(logits)
        return accept(proposed[0], q, probabilities, self.sampling.generator)

    @torch.inference_mode()
    def score(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [1, S] → [1, S − prompt_len, V], in chunks as long as those of verification."""
        text = text.to(self.device)
        rows = [self.steps.prefill(text[:, :prompt_len]).float().cpu()[:, None]]
        chunk_len = PROPOSED_TOKENS + 1
        end = text.shape[1] - 1
        for position in range(prompt_len, end, chunk_len):
            # The last chunk reaches back, so that all have one length (and one compiled graph).
            start = max(prompt_len, min(position, end - chunk_len))
            logits = self.steps.extend(text[:, start : min(start + chunk_len, end)], start)
            rows.append(logits[:, position - start :].float().cpu())
        return torch.cat(rows, dim=1)

    @torch.inference_mode()
    def count_next_tokens(self, context: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        """How often each token came first out of `draws` passes after `context` [1, S].

        Returns (counts [V], the model's own distribution [V]): what verification compares.
        """
        context = context.to(self.device)
        tokens: list[int] = context[0].tolist()
        self.steps.prefill(context[:, :-1])
        self.proposer.begin(context[:, :-1], self.sampling)
        chunk = context[:, -1:].expand(1, PROPOSED_TOKENS + 1)
        own = self.sampling.probabilities(self.steps.extend(chunk, len(tokens) - 1)[0, 0])
        counts = torch.zeros_like(own)
        for _ in range(draws):
            counts[self.next_tokens(tokens)[0]] += 1
        return counts.cpu(), own.cpu()


def accept_greedily(proposed: list[int], best: list[int]) -> list[int]:
    """Proposals that equal the model's choices, and the model's choice after them.

    `best` holds one entry more than `proposed`.
    """
    accepted = 0
    while accepted < len(proposed) and proposed[accepted] == best[accepted]:
        accepted += 1
    return best[: accepted + 1]


def accept(
    proposed: Tensor, q: Tensor | None, p: Tensor, generator: torch.Generator | None = None
) -> list[int]:
    """Accept-reject so that the tokens follow p.

    proposed [count]; q [count, V], or None for certain proposals; p [count + 1, V].
    """
    count = proposed.shape[0]
    if q is None:
        q = torch.zeros_like(p[:count]).scatter_(1, proposed[:, None], 1.0)
    rows = torch.arange(count, device=p.device)
    ratio = p[rows, proposed] / q[rows, proposed]
    rejected = (torch.rand(count, device=p.device, generator=generator) >= ratio).nonzero()
    if rejected.numel() == 0:
        return [*proposed.tolist(), int(draw(p[count], generator))]
    first = int(rejected[0])
    residual = (p[first] - q[first]).clamp(min=0)
    return [*proposed[:first].tolist(), int(draw(residual / residual.sum(), generator))]
