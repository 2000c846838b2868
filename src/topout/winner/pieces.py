"""Text of tokens, piece by piece: no half characters, and nothing of a text to stop at."""

from collections.abc import Sequence

from topout.models.text import Tokenizer

_UNFINISHED = "\ufffd"  # what tokenizers show in the place of bytes that are no character (yet)
_PATIENCE = 16  # tokens that may pass without a finished character
_CONTEXT = 8  # tokens of the prompt that decide how the first piece begins


class TextPieces:
    """What each token adds to the text; the pieces joined are the text.

    A character whose bytes are spread over several tokens comes with the last of them. Only the
    last few tokens are decoded again, with the text before them known, since a tokenizer may drop
    the space at the beginning of what it decodes.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt[-_CONTEXT:])  # the window
        self._shown = len(self._finished(0))  # characters of the window that were given out
        self._boundary = len(self._ids) if self._shown else 0  # no character is across it
        self._waiting = 0  # tokens since the latest piece

    def add(self, token: int) -> str:
        """The text that is certain now and was not before; "" while a character is unfinished."""
        self._ids.append(token)
        self._waiting += 1
        finished = self._finished(self._waiting)
        piece = finished[self._shown :]
        if piece:
            self._shown = len(finished)
            self._waiting = 0
            if self._tokenizer.decode(self._ids) == finished:
                self._move_window()
        return piece

    def _finished(self, waiting: int) -> str:
        """The window's text without what further tokens may still change.

        Some tokenizers show a mark for each byte of an unfinished character, so that all at the end
        are held; where so many tokens came without a character, it is no text, and one is enough.
        """
        text = self._tokenizer.decode(self._ids)
        finished = text.rstrip(_UNFINISHED)
        if len(finished) < len(text) and waiting > _PATIENCE:
            return text[:-1]
        return finished

    def _move_window(self) -> None:
        """Begin it behind the last boundary: what came since is the context of the next piece."""
        if self._boundary:
            self._ids = self._ids[self._boundary :]
            self._shown = len(self._tokenizer.decode(self._ids))
        self._boundary = len(self._ids)


class StopTexts:
    """Ends a text before the first of some texts: what could be its beginning is held back."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held = ""

    def add(self, piece: str) -> tuple[str, bool]:
        """The text that may be given out, and whether a text to stop at was reached."""
        self._held += piece
        found = [place for text in self._texts if (place := self._held.find(text)) >= 0]
        if found:
            return self._held[: min(found)], True
        keep = max((_begun(self._held, text) for text in self._texts), default=0)
        given = self._held[: len(self._held) - keep]
        self._held = self._held[len(given) :]
        return given, False

    def rest(self) -> str:
        """What was held back, where the text ends without it."""
        return self._held


def _begun(held: str, text: str) -> int:
    """Characters at the end of what is held with which a text begins."""
    longest = min(len(held), len(text) - 1)
    return next((size for size in range(longest, 0, -1) if held.endswith(text[:size])), 0)
