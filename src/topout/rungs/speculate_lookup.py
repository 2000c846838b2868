"""Speculation without a draft model: propose what followed the same n-gram earlier in the text."""

import torch
from torch import Tensor

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession, Session
from topout.generation.speculation import PROPOSED_TOKENS, SpeculativeSession
from topout.models.source import ModelSource
from topout.rungs.rung import Rung

LONGEST_NGRAM = 3


class SpeculateLookup(Rung):
    """Text repeats itself, code above all: a name once written is written again."""

    name = "speculate_lookup"
    change = "proposals from earlier n-grams of the text, verified several at a time in one pass"
    requires = ("static_cache",)
    excludes = ("speculate_draft",)

    def reason_to_skip(self, build: Build) -> str | None:
        """Needs one sequence at a time, and room for its proposals."""
        return not_one_sequence(build) or no_room(build, build.decoder)

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """A pass reads the weights once for several tokens."""
        return expectation.replace(
            proposed_tokens=PROPOSED_TOKENS,
            accepted_per_pass=expectation.acceptance.get(self.name),
        )

    def transform_session(self, session: Session, build: Build) -> Session:
        """Put the verifying loop in the place of the plain one."""
        assert isinstance(session, DecoderSession)
        return SpeculativeSession(session, LookupProposer(session.device))


def not_one_sequence(build: Build) -> str | None:
    """Why a batch cannot speculate: its rows would accept different numbers of tokens."""
    if build.workload.batch_size > 1:
        return "speculation runs one sequence at a time; the batch is larger"
    return None


def no_room(build: Build, source: ModelSource) -> str | None:
    """Why a model's context cannot hold the proposals beyond the end; None where it can."""
    if build.cache_len <= source.config.context_len:
        return None
    return (
        f"proposals beyond the last token need a context of {build.cache_len}, and {source.name} "
        f"has {source.config.context_len}"
    )


class LookupProposer:
    """Proposes the continuation of the latest earlier occurrence of the last n tokens."""

    def __init__(self, device: torch.device, longest: int = LONGEST_NGRAM) -> None:
        self._device = device
        self._index = NgramIndex(longest)

    def begin(self, prompt: Tensor, sampling: Sampling) -> None:
        """Forget the text before."""
        self._index = NgramIndex(self._index.longest)

    def propose(self, tokens: list[int], count: int) -> tuple[Tensor, Tensor | None]:
        """`count` tokens [1, count]; certain, so no distribution goes with them."""
        return torch.tensor([self._index.continuation(tokens, count)], device=self._device), None


class NgramIndex:
    """Where each n-gram of a growing text last occurred; each token is indexed once."""

    def __init__(self, longest: int = LONGEST_NGRAM) -> None:
        self.longest = longest
        self._ends: dict[tuple[int, ...], int] = {}
        self._indexed = 0  # n-grams that end before this position are in `_ends`

    def continuation(self, tokens: list[int], count: int) -> list[int]:
        """What followed the longest known suffix of `tokens`, padded by its last token.

        A text without a repetition gets guesses that verification turns down: a wrong proposal
        costs a wider pass, never a wrong token.
        """
        self._index_up_to(tokens)
        for n in range(min(self.longest, len(tokens)), 0, -1):
            end = self._ends.get(tuple(tokens[-n:]))
            if end is not None:
                return self._repeat(tokens, end, count)
        return [tokens[-1]] * count

    def _index_up_to(self, tokens: list[int]) -> None:
        """Index all n-grams that have a successor: those that end before the last token."""
        for end in range(max(1, self._indexed), len(tokens)):
            for n in range(1, min(self.longest, end) + 1):
                self._ends[tuple(tokens[end - n : end])] = end
        self._indexed = max(1, len(tokens))

    @staticmethod
    def _repeat(tokens: list[int], end: int, count: int) -> list[int]:
        """`count` tokens from position `end` on; past the text it goes on with its own output."""
        period = len(tokens) - end
        return [tokens[end + step % period] for step in range(count)]
