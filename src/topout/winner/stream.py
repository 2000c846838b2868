"""A text as it comes, and what has come of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

from topout.measure.process import Closing
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


class Stream(Closing, Generic[Piece]):
    """Iterate it for the pieces; `result()` says at any time what has come so far.

    Pieces are text where the prompt was text, token ids where it was token ids. The model is in
    use from the first piece until the last, `close()`, an error, or until nobody has the stream.
    """

    def __init__(
        self,
        prompt: list[int],
        passes: Callable[[], Generator[list[int], None, None]],
        ending: Ending,
        tokenizer: Tokenizer | None,
        kind: type[Piece],
    ) -> None:
        # What runs does not know the stream: a circle would be freed late, and the model with it.
        self._text = _TextSoFar(prompt, ending, tokenizer)
        self._iterator = _pieces(self._text, passes, kind)

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._iterator)

    def close(self) -> None:
        """End it here; the model is free for the next text."""
        self._iterator.close()

    def result(self) -> Generation:
        """What has come so far; "interrupted" is the finish of a text that has not ended."""
        return self._text.result()


def _pieces(
    text: _TextSoFar, passes: Callable[[], Generator[list[int], None, None]], kind: type[Piece]
) -> Generator[Piece, None, None]:
    text.begin()
    with contextlib.closing(passes()) as running:  # which gives the model free
        for tokens in running:
            text.count_pass()
            for token in tokens:
                piece = text.take(token)
                if kind is int:
                    yield cast(Piece, token)
                elif piece:
                    yield cast(Piece, piece)
                if text.finish is not None:
                    return


class _TextSoFar:
    """Tokens and text as they come, with the times at which they came."""

    def __init__(self, prompt: list[int], ending: Ending, tokenizer: Tokenizer | None) -> None:
        self.finish: Finish | None = None
        self._prompt = prompt
        self._ending = ending
        self._pieces = TextPieces(tokenizer, prompt) if tokenizer is not None else None
        self._stop = StopTexts(ending.stop)
        self._tokens: list[int] = []
        self._text: list[str] = []
        self._passes = 0
        self._began = self._first = self._last = 0.0

    def begin(self) -> None:
        """Note when it began."""
        self._began = self._first = self._last = time.perf_counter()

    def count_pass(self) -> None:
        """Note that the model has made a pass, the first of them the prefill."""
        self._last = time.perf_counter()
        self._first = self._last if not self._passes else self._first
        self._passes += 1

    def take(self, token: int) -> str:
        """Note a token; returns the text that is certain with it."""
        self._tokens.append(token)
        is_end = token in self._ending.end_tokens
        text = "" if is_end else self._text_of(token)
        if is_end:
            self.finish = "end of text"
        elif self.finish is None and len(self._tokens) == self._ending.most_tokens:
            self.finish = "context" if self._ending.cut_by_context else "length"
        if self.finish not in (None, "stop"):
            text += self._stop.rest()
        self._text.append(text)
        return text

    def result(self) -> Generation:
        """All of it."""
        return Generation(
            prompt_ids=self._prompt,
            token_ids=list(self._tokens),
            text="".join(self._text),
            finish=self.finish or "interrupted",
            prefill_s=self._first - self._began,
            decode_s=self._last - self._first,
            forward_passes=max(0, self._passes - 1),
        )

    def _text_of(self, token: int) -> str:
        if self._pieces is None:
            return ""
        text, stopped = self._stop.add(self._pieces.add(token))
        if stopped:
            self.finish = "stop"
        return text
