"""Tokens as they come: the loop of each kind of session, for a prompt of any length."""

from collections.abc import Iterator

import torch
from torch import Tensor

from topout.errors import UnsupportedError
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession, Session, TransformersSession
from topout.generation.speculation import PROPOSED_TOKENS, SpeculativeSession


@torch.inference_mode()
def stream_tokens(
    session: Session, prompt: list[int], capacity: int, sampling: Sampling
) -> Iterator[list[int]]:
    """The tokens that follow a prompt, in a list for each pass of the model, without an end.

    The first pass is the prefill and gives one. Whoever takes them stops: the last token that is
    taken may be the first one beyond `capacity`, the positions of the session's cache. Raises
    UnsupportedError for a session whose loop is a rung's own.
    """
    if type(session) is SpeculativeSession:
        yield from _speculated(session, prompt, capacity, sampling)
    elif type(session) is DecoderSession:
        yield from _decoded(session, prompt, sampling)
    elif type(session) is TransformersSession:
        yield from _by_transformers(session, prompt, sampling)
    else:
        raise UnsupportedError(
            f"{type(session).__name__} generates in a loop of its own, which gives whole runs.",
            "Choose a stack without that rung.",
        )


def _decoded(session: DecoderSession, prompt: list[int], sampling: Sampling) -> Iterator[list[int]]:
    token = sampling.choose(session.steps.prefill(_row(prompt, session.device)))
    position = len(prompt)
    while True:
        yield [int(token)]
        token = sampling.choose(session.steps.decode_one_token(token, position))
        position += 1


def _speculated(
    session: SpeculativeSession, prompt: list[int], capacity: int, sampling: Sampling
) -> Iterator[list[int]]:
    session.sampling = sampling
    row = _row(prompt, session.device)
    new = [int(sampling.choose(session.steps.prefill(row)))]
    session.proposer.begin(row, sampling)
    tokens = list(prompt)
    while True:
        tokens += new
        yield new
        has_room = len(tokens) + PROPOSED_TOKENS <= capacity
        new = session.next_tokens(tokens) if has_room else [_next_token(session, tokens)]


def _next_token(session: SpeculativeSession, tokens: list[int]) -> int:
    """The next token at the end of the cache, where proposals have no room.

    The pass reaches back over tokens that are in the cache already, so that it has the length of
    all others, and its graph.
    """
    chunk = tokens[-(PROPOSED_TOKENS + 1) :]
    row = _row(chunk, session.device)
    logits = session.steps.extend(row, len(tokens) - len(chunk))
    return int(session.sampling.choose(logits[:, -1]))


def _by_transformers(
    session: TransformersSession, prompt: list[int], sampling: Sampling
) -> Iterator[list[int]]:
    row = _row(prompt, session.device)
    output = session.model(row, use_cache=True, logits_to_keep=1)
    while True:
        token = sampling.choose(output.logits[:, -1])
        yield [int(token)]
        output = session.model(token, past_key_values=output.past_key_values, use_cache=True)


def _row(tokens: list[int], device: torch.device) -> Tensor:
    return torch.tensor([tokens], device=device)
