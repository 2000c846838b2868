"""A model under a stack, ready to generate texts of any length."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import torch
from torch import Tensor

from topout.errors import InputError, UnsupportedError
from topout.generation.build import load_model, session_over
from topout.generation.sampling import Sampling
from topout.generation.session import Session
from topout.generation.speculation import PROPOSED_TOKENS
from topout.generation.stream import stream_tokens
from topout.measure.process import Closing
from topout.models.end_tokens import end_tokens
from topout.models.text import Tokenizer, load_tokenizer
from topout.records import Doubt
from topout.winner.choice import Choice
from topout.winner.request import SamplingRequest
from topout.winner.saved import save_stack
from topout.winner.stream import Ending, Generation, Stream

Prompt = str | Sequence[int] | Tensor
_MOST_BYTES = 4  # of a character in UTF-8, and so tokens
_LEAST_CAPACITY = 256  # positions; caches double from there to the context
_WARM_UP_PASSES = 3  # the prefill, and decode, which CUDA graphs record at its second run


class SamplingOptions(TypedDict, total=False):
    """The fields of `SamplingRequest`, as `generate` and `stream` take them."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None


class LoadedModel(Closing):
    """A model under a stack of rungs: `generate`, `stream`, `logits`.

    One text at a time: a call while another one runs raises InputError. Caches and graphs are made
    for 256, 512, … positions up to the context, when a text first needs them, so that what a text
    becomes does not depend on the texts before it. Close it, or use it in a `with` block.
    """

    def __init__(self, choice: Choice, tokenizer: Tokenizer | None = None) -> None:
        if choice.threads is not None:
            torch.set_num_threads(choice.threads)
        self.choice = choice
        self._build = choice.build
        self._model: Any = load_model(choice.build, choice.stack.rungs)
        self._sessions: dict[int, Session] = {}  # by capacity
        self._in_use = threading.Lock()
        self._closed = False
        source = choice.build.decoder
        has_text = source.tokenizer_path is not None or source.origin == "random"
        self.tokenizer = load_tokenizer(source) if has_text else tokenizer
        self._end_tokens = end_tokens(source)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._build.decoder.name

    @property
    def stack(self) -> str:
        """The rungs in force, joined by " + "."""
        return self.choice.stack.label

    @property
    def doubts(self) -> list[Doubt]:
        """Why the text or the speed may not be what was climbed."""
        return self.choice.doubts

    @property
    def context_len(self) -> int:
        """Tokens of prompt and answer together, at most."""
        assert self._build.context_len is not None
        return self._build.context_len

    @property
    def module(self) -> Any:
        """The module that runs: the decoder with what rungs have put into it."""
        return self._model

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"LoadedModel({self.name}, {self.stack}{state})"

    def generate(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Generation:
        """What follows a text or token ids; print it for its text.

        Options: `max_new_tokens` (128), `temperature` (0 is greedy), `top_k`, `top_p`, `seed` (the
        same gives the same text; None takes another each time), `stop` (a text to end before, or
        several). It ends as well at the model's end of text, and where the context does. Raises
        InputError for a prompt that is empty, does not fit or holds what is no token, for options
        out of range, while another text is generated, and once closed; UnsupportedError for text
        where the model has no tokenizer.
        """
        stream: Stream[Any] = self.stream(prompt, **options)
        for _ in stream:
            pass
        return stream.result()

    @overload
    def stream(self, prompt: str, **options: Unpack[SamplingOptions]) -> Stream[str]: ...
    @overload
    def stream(
        self, prompt: Sequence[int] | Tensor, **options: Unpack[SamplingOptions]
    ) -> Stream[int]: ...
    def stream(self, prompt: Prompt, **options: Unpack[SamplingOptions]) -> Stream[Any]:
        """The same piece by piece: text where the prompt is text, token ids where it is those.

        The pieces joined are the text of `generate`; none ends within a character. Raises as
        `generate` does; that the model is in use shows at the first piece.
        """
        asked = SamplingRequest(**options)  # type: ignore[arg-type] # one text is a list of one
        stop = list(asked.stop or ())
        if "" in stop:
            raise InputError("a text to stop at is empty.", "Give one with characters.")
        if stop and self.tokenizer is None:
            raise self._no_tokenizer("a text to stop at")
        ids = self.token_ids(prompt)
        room = self.context_len - len(ids) + 1  # the last token needs no position
        ending = Ending(
            most_tokens=min(asked.max_new_tokens, room),
            cut_by_context=room < asked.max_new_tokens,
            end_tokens=self._end_tokens,
            stop=stop,
        )
        kind: type[Any] = str if isinstance(prompt, str) else int
        total = len(ids) + ending.most_tokens
        return Stream(ids, lambda: self._passes(ids, total, asked), ending, self.tokenizer, kind)

    def warm_up(self, tokens: int) -> None:
        """Make the cache and the graphs that a text of so many tokens needs, prompt included.

        A stack that compiles takes seconds to minutes for it; else the first such text does.
        """
        passes = self._passes([0], tokens, SamplingRequest())
        with contextlib.closing(passes):
            for _ in itertools.islice(passes, min(_WARM_UP_PASSES, self.context_len)):
                pass

    def logits(self, prompt: Prompt) -> Tensor:
        """Prompt of S tokens → fp32 logits [S, V] on the CPU: row i is of what follows token i.

        From one pass without a cache. Raises as `generate` does.
        """
        ids = self.token_ids(prompt)
        with self._turn():
            # A session scores what follows a prompt of one, and feeds all but the last token.
            text = torch.tensor([[*ids, 0]])
            session = self._session(self._capacity(len(ids)))
            return session.score_at_once(text, 1)[0]

    def save(self, folder: str | Path) -> Path:
        """Write the stack with its weights as it holds them; `topout.load(folder)` needs no more.

        Weights in int8, int4 or bf16 are saved so, others as they were published. Raises as
        `save_stack` does.
        """
        return save_stack(self.choice.stack, self._build, Path(folder), self.tokenizer)

    def close(self) -> None:
        """Let go of the weights, the caches and the graphs."""
        self._closed = True
        self._model = None
        self._build.draft_model = None
        self._sessions.clear()

    def _passes(
        self, ids: list[int], total: int, asked: SamplingRequest
    ) -> Generator[list[int], None, None]:
        """The tokens of each pass, while no other text is generated; `total` with the prompt's."""
        with self._turn():
            generator = torch.Generator(self._build.device)
            if asked.seed is None:
                generator.seed()
            else:
                generator.manual_seed(asked.seed)
            sampling = Sampling(asked.temperature, asked.top_k, asked.top_p, generator)
            capacity = self._capacity(total)
            session = self._session(capacity)
            yield from stream_tokens(session, ids, capacity, sampling)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The model for one text; raises InputError where it is in use, or closed."""
        if self._closed:
            raise InputError(f"{self.name} is closed.", "Load it again.")
        if not self._in_use.acquire(blocking=False):
            raise InputError(
                f"{self.name} is generating another text.",
                "Wait for it or close its stream; load the model again for two at a time.",
            )
        try:
            yield
        finally:
            self._in_use.release()

    def _capacity(self, tokens: int) -> int:
        """Positions of the smallest cache for so many tokens, or the whole context.

        The last token needs none; proposals beyond it do.
        """
        capacity = _LEAST_CAPACITY
        while capacity < tokens - 1 + PROPOSED_TOKENS:
            capacity *= 2
        return min(capacity, self.context_len)

    def _session(self, capacity: int) -> Session:
        if capacity not in self._sessions:
            self._build.capacity = capacity
            self._sessions[capacity] = session_over(self._model, self._build)
        return self._sessions[capacity]

    def token_ids(self, prompt: Prompt) -> list[int]:
        """The token ids of a prompt, with what belongs before it; raises as `generate` does."""
        ids = self._encoded(prompt) if isinstance(prompt, str) else self._checked(prompt)
        if not ids:
            raise InputError("the prompt is empty.", "Give a text, or one token at least.")
        if len(ids) > self.context_len:
            raise InputError(
                f"the prompt has {len(ids)} tokens, and the context of {self.name} is "
                f"{self.context_len}.",
                "Give a shorter one.",
            )
        return ids

    def _encoded(self, text: str) -> list[int]:
        if self.tokenizer is None:
            raise self._no_tokenizer("text")
        if not text:
            return []
        return self.tokenizer.encode_sequence(text, _MOST_BYTES * len(text) + self.context_len)

    def _checked(self, prompt: Sequence[int] | Tensor) -> list[int]:
        if isinstance(prompt, Tensor):
            prompt = prompt[0] if prompt.dim() == 2 and prompt.shape[0] == 1 else prompt
            if prompt.dim() != 1 or prompt.is_floating_point():
                raise InputError(
                    f"a prompt of shape {list(prompt.shape)} in {prompt.dtype} is no row of ids.",
                    "Give one sequence of whole numbers.",
                )
            prompt = prompt.tolist()
        vocab_size = self._build.decoder.config.vocab_size
        for token in prompt:
            if not isinstance(token, int) or isinstance(token, bool):
                raise InputError(f"{token!r} is no token id.", "Give whole numbers, or a text.")
            if not 0 <= token < vocab_size:
                raise InputError(
                    f"the token {token} is not of {self.name}, whose tokens are 0 to "
                    f"{vocab_size - 1}.",
                    "Give token ids of its own tokenizer.",
                )
        return list(prompt)

    def _no_tokenizer(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.name} has no tokenizer, which {what} needs.",
            "Add its tokenizer.json to the model's folder, or give token ids alone.",
        )
