"""Tokens as they come: the loop of each kind of session against its own `generate`."""

import itertools
from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import periodic_prompt, session_of, source_of
from topout.errors import UnsupportedError
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession
from topout.generation.speculation import PROPOSED_TOKENS
from topout.generation.stream import stream_tokens

STACKS = ([], ["static_cache"], ["static_cache", "speculate_lookup"])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("stack", STACKS)
def test_the_tokens_are_those_of_the_session(kind: str, stack: list[str], tmp_path: Path) -> None:
    source = source_of(tmp_path, kind)
    session = session_of(source, tmp_path, stack)
    prompt = periodic_prompt(source.config.vocab_size, 20)
    expected = session.generate(prompt, 24).tokens[0].tolist()
    passes = stream_tokens(session, prompt[0].tolist(), 49, Sampling())
    found = list(itertools.islice(itertools.chain.from_iterable(passes), 24))
    assert found == expected


def test_at_the_end_of_the_cache_nothing_is_proposed(tmp_path: Path) -> None:
    """A cache of 49 positions, and tokens up to the one that needs none: 20 + 30."""
    source = source_of(tmp_path, "gpt2")
    prompt = periodic_prompt(source.config.vocab_size, 20)[0].tolist()
    tokens = []
    for stack in (["static_cache"], ["static_cache", "speculate_lookup"]):
        session = session_of(source, tmp_path, stack)
        assert session.steps.cache.max_len == 49  # type: ignore[attr-defined]
        passes = stream_tokens(session, prompt, 49, Sampling())
        taken: list[int] = []
        for new in passes:
            near = len(prompt) + len(taken) + PROPOSED_TOKENS > 49
            assert len(new) == 1 or not near
            taken += new
            if len(prompt) + len(taken) >= 50:
                break
        tokens.append(taken[:30])
    assert tokens[0] == tokens[1]


def test_a_loop_of_a_rungs_own_is_refused(tmp_path: Path) -> None:
    class Own(DecoderSession):
        pass

    plain = session_of(source_of(tmp_path, "gpt2"), tmp_path, ["static_cache"])
    assert isinstance(plain, DecoderSession)
    own = Own(plain.steps, plain.sampling, torch.device("cpu"))
    with pytest.raises(UnsupportedError, match="Own generates in a loop of its own"):
        next(stream_tokens(own, [1], 49, Sampling()))
