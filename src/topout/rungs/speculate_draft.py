"""Speculation with a draft model: a small model proposes, the large one verifies in one pass."""

import torch
from torch import Tensor

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.generation.sampling import Sampling, draw
from topout.generation.session import DecoderSession, Session, memory_bytes_of
from topout.generation.speculation import PROPOSED_TOKENS, SpeculativeSession
from topout.generation.steps import DecoderSteps, PlainPrefill, Steps
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.rungs.rung import Rung
from topout.rungs.speculate_lookup import no_room, not_one_sequence


class SpeculateDraft(Rung):
    """A pass of the model over k + 1 tokens costs little more than over one where memory bounds."""

    name = "speculate_draft"
    change = "a draft model proposes 4 tokens, the model verifies them in one pass"
    requires = ("static_cache",)
    excludes = ("speculate_lookup",)

    def reason_to_skip(self, build: Build) -> str | None:
        """Needs a draft with the same tokens, and one sequence at a time."""
        batched = not_one_sequence(build)
        if batched is not None:
            return batched
        if build.draft is None:
            return "no draft model: name a smaller one with the same tokenizer by --draft"
        if build.draft.config.vocab_size != build.decoder.config.vocab_size:
            return (
                f"the draft has {build.draft.config.vocab_size} tokens and the model "
                f"{build.decoder.config.vocab_size}; they must share a tokenizer"
            )
        return no_room(build, build.decoder) or no_room(build, build.draft)

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """A pass reads the weights once for several tokens, and the draft's for each proposal."""
        assert build.draft is not None
        return expectation.replace(
            proposed_tokens=PROPOSED_TOKENS,
            accepted_per_pass=expectation.acceptance.get(self.name),
            draft=build.draft.config,
        )

    def transform_session(self, session: Session, build: Build) -> Session:
        """Put the verifying loop in the place of the plain one."""
        assert isinstance(session, DecoderSession)
        assert build.draft is not None
        if build.draft_model is None:
            build.draft_model = _load_draft(build.draft, build)
        model = build.draft_model
        plain = DecoderSteps(model, 1, build.cache_len)
        steps: Steps = plain
        for transform in build.transforms:
            steps = transform.transform_steps(steps, build)
        steps = PlainPrefill(steps, plain)
        proposer = DraftProposer(steps, session.device)
        return SpeculativeSession(session, proposer, draft_bytes=memory_bytes_of(model))


def _load_draft(draft: ModelSource, build: Build) -> Decoder:
    """The draft under the exact transforms: a quantized checkpoint is of the model alone."""
    device = str(build.device)
    model = load_decoder(draft, dtype=build.dtype, device=device, max_len=build.max_len)
    for transform in build.transforms:
        if transform.output_class == "exact":
            model = transform.transform_model(model, build)
    return model


class DraftProposer:
    """Runs the draft model token by token; its cache follows the accepted text."""

    def __init__(self, steps: Steps, device: torch.device) -> None:
        self._steps = steps
        self._sampling = Sampling()
        self._device = device
        self._filled = 0  # positions of the draft's cache that hold accepted tokens

    def begin(self, prompt: Tensor, sampling: Sampling) -> None:
        """Prompt [1, S]."""
        self._sampling = sampling
        self._steps.prefill(prompt)
        self._filled = prompt.shape[1]

    def propose(self, tokens: list[int], count: int) -> tuple[Tensor, Tensor | None]:
        """`count` tokens [1, count] and, when sampling, q [count, V]."""
        # At most one accepted token besides the last is missing: the one after all proposals.
        for position in range(self._filled, len(tokens) - 1):
            token = torch.tensor([[tokens[position]]], device=self._device)
            self._steps.decode_one_token(token, position)
        token = torch.tensor([[tokens[-1]]], device=self._device)
        proposed, distributions = [], []
        for step in range(count):
            logits = self._steps.decode_one_token(token, len(tokens) - 1 + step)
            if self._sampling.greedy:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                distributions.append(self._sampling.probabilities(logits))
                token = draw(distributions[-1], self._sampling.generator)
            proposed.append(token)
        # The cache now holds the last token and all proposals but the final one. Those that get
        # accepted are right where they are, and the others are overwritten.
        self._filled = len(tokens) - 1 + count
        return torch.cat(proposed, dim=1), torch.cat(distributions) if distributions else None
