"""A text as it comes, and what has come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, cast

from topout.models.text import Tokenizer
from topout.winner.pieces import StopTexts, TextPieces

Finish = Literal["length", "end of text", "stop", "context", "interrupted"]
"""Why a text ends: as many tokens as asked, the model's own end, a text to stop at, the context."""

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Generation:
    """What was generated, and how long it took.

    `token_ids` are those that the model chose, its end of text included; `text` is what they say,
    up to a text to stop at, and "" for token ids of a model without a tokenizer. `prefill_s` lasts
    to the first token, `decode_s` from there to the last.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    text: str
    finish: Finish
    prefill_s: float
    decode_s: float
    forward_passes: int  # after the prefill; fewer than tokens where a stack speculates

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Ending:
    """When a text ends, beside the texts that it stops at."""

    most_tokens: int
    cut_by_context: bool  # whether so few because the context has no more room
    end_tokens: frozenset[int]
    stop: Sequence[str]


class Stream(Generic[Piece]):
    """Iterate it for the pieces; `result()` says at any time what has come so far.

    Pieces are text where the prompt was text, token ids where it was token ids. The model is in
    use from the first piece until the last, `close()` or an error.
    """

    def __init__(
        self,
        prompt: list[int],
        passes: Callable[[], Generator[list[int], None, None]],
        ending: Ending,
        tokenizer: Tokenizer | None,
        kind: type[Piece],
    ) -> None:
        self._prompt = prompt
        self._passes = passes
        self._ending = ending
        self._kind = kind
        self._pieces = TextPieces(tokenizer, prompt) if tokenizer is not None else None
        self._stop = StopTexts(ending.stop)
        self._tokens: list[int] = []
        self._text: list[str] = []
        self._finish: Finish | None = None
        self._pass_count = 0
        self._began = self._first = self._last = 0.0
        self._iterator = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._iterator)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it here; the model is free for the next text."""
        self._iterator.close()

    def result(self) -> Generation:
        """What has come so far; "interrupted" is the finish of a text that has not ended."""
        return Generation(
            prompt_ids=self._prompt,
            token_ids=list(self._tokens),
            text="".join(self._text),
            finish=self._finish or "interrupted",
            prefill_s=self._first - self._began,
            decode_s=self._last - self._first,
            forward_passes=max(0, self._pass_count - 1),
        )

    def _run(self) -> Generator[Piece, None, None]:
        self._began = self._first = self._last = time.perf_counter()
        passes = self._passes()
        try:
            for tokens in passes:
                self._last = time.perf_counter()
                self._first = self._last if not self._pass_count else self._first
                self._pass_count += 1
                for token in tokens:
                    yield from self._take(token)
                    if self._finish is not None:
                        return
        finally:
            passes.close()  # which gives the model free

    def _take(self, token: int) -> Iterator[Piece]:
        """Note a token and give out what it adds."""
        self._tokens.append(token)
        text = "" if token in self._ending.end_tokens else self._text_of(token)
        if token in self._ending.end_tokens:
            self._finish = "end of text"
        elif self._finish is None and len(self._tokens) == self._ending.most_tokens:
            self._finish = "context" if self._ending.cut_by_context else "length"
        if self._finish not in (None, "stop"):
            text += self._stop.rest()
        self._text.append(text)
        if self._kind is int:
            yield cast(Piece, token)
        elif text:
            yield cast(Piece, text)

    def _text_of(self, token: int) -> str:
        if self._pieces is None:
            return ""
        text, stopped = self._stop.add(self._pieces.add(token))
        if stopped:
            self._finish = "stop"
        return text
