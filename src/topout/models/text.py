"""Text to token ids and back, rows of them to batches, and real text to run a model on.

A model's own tokenizer is run, or bytes are where it has none. Text is held-out modules of the
standard library, or a user's file.
"""

import ast
import json
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from topout.errors import InputError
from topout.input_file import MOST_RECORD_BYTES, MOST_TEXT_BYTES, read_input
from topout.models.panics import as_input_errors
from topout.models.source import AnySource, PassSource

if TYPE_CHECKING:
    from torch import Tensor

_HELDOUT_FILE = Path(__file__).parent / "bundled" / "heldout.json"


class Tokenizer(Protocol):
    """What turns text into token ids; `description` says which kind it is."""

    description: str
    bos_id: int | None  # what the model was trained to see before the first token, if anything

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens around it."""

    def encode_sequence(self, text: str, max_len: int) -> list[int]:
        """Token ids of `text` as the model was trained to see a whole sequence.

        The special tokens that belong around it are there, and the text between them is cut so
        that there are `max_len` tokens at most. Raises InputError when not even they fit.
        """

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, special tokens left out."""


class TrainedTokenizer:
    """The tokenizer that belongs to a model, run by the `tokenizers` library."""

    def __init__(self, tokenizer: Any, source: AnySource | PassSource) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = source.config.vocab_size
        self._file = source.tokenizer_path
        self.bos_id = _bos_id(source)
        self.description = f"tokenizer of {source.name}"

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; raises InputError when the model has no row for one of them."""
        with as_input_errors(self._named):
            ids: list[int] = self._encoded(text).ids
        self._check(ids)
        return ids

    def encode_sequence(self, text: str, max_len: int) -> list[int]:
        """Token ids of `text` with special tokens around it; raises InputError as `encode`."""
        with as_input_errors(self._named):
            specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
            _check_room(max_len, specials + 1)
            encoding = self._encoded(text)
            encoding.truncate(max_len - specials)
            ids: list[int] = self._tokenizer.post_process(encoding, add_special_tokens=True).ids
        self._check(ids)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, special tokens left out."""
        with as_input_errors(self._named):
            text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def save(self, path: Path) -> None:
        """Write it as a tokenizer.json."""
        self._tokenizer.save(str(path))

    def _encoded(self, text: str) -> Any:
        text.encode()  # the library's own error for what is no UTF-8 says nothing of it
        return self._tokenizer.encode(text, add_special_tokens=False)

    @property
    def _named(self) -> str:
        return str(self._file or self.description)

    def _check(self, ids: list[int]) -> None:
        if ids and max(ids) >= self._vocab_size:
            raise InputError(
                f"{self._named} gives the token {max(ids)}, and the model's "
                f"vocabulary ends at {self._vocab_size - 1}.",
                "Give the tokenizer that belongs to the model.",
            )


class ByteTokenizer:
    """Bytes of UTF-8 as token ids, spread evenly over the vocabulary.

    For models without a tokenizer, so that real text can drive them: byte b becomes token
    b·⌊V/256⌋ and embedding rows of the whole table are touched. A vocabulary below 256 folds.
    """

    description = "bytes of the text spread over the vocabulary (the model has no tokenizer)"
    bos_id: int | None = None

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._stride = max(1, vocab_size // 256)

    def encode(self, text: str) -> list[int]:
        """One token id per byte."""
        with as_input_errors(self.description):
            return [byte * self._stride % self._vocab_size for byte in text.encode()]

    def encode_sequence(self, text: str, max_len: int) -> list[int]:
        """The first `max_len` bytes; there are no special tokens."""
        _check_room(max_len, 1)
        return self.encode(text)[:max_len]

    def decode(self, ids: list[int]) -> str:
        """The text whose bytes lie at or below `ids`; bytes that are no UTF-8 show as �."""
        return bytes(min(i // self._stride, 255) for i in ids).decode(errors="replace")


def load_tokenizer(source: AnySource | PassSource) -> Tokenizer:
    """The tokenizer of a model, or `ByteTokenizer` when it has none (its `description` says so).

    Reads tokenizer.json, or GPT-2's vocab.json and merges.txt. Raises InputError for a file that
    is not a tokenizer.
    """
    path = source.tokenizer_path
    if path is None:
        return ByteTokenizer(source.config.vocab_size)
    from tokenizers import Tokenizer as Backend

    with as_input_errors(path):
        if path.stat().st_size > MOST_RECORD_BYTES:
            raise InputError(f"{path} is larger than any tokenizer.", "Download it again.")
        is_whole = path.name == "tokenizer.json"
        backend = Backend.from_file(str(path)) if is_whole else _gpt2_backend(source)
        backend.no_truncation()
        backend.no_padding()
    return TrainedTokenizer(backend, source)


def _gpt2_backend(source: AnySource | PassSource) -> Any:
    """GPT-2's byte-level BPE from vocab.json and merges.txt."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    assert source.tokenizer_path is not None
    folder = source.tokenizer_path.parent
    model_type = source.config_json.get("model_type")
    if model_type != "gpt2" or source.tokenizer_path.name != "vocab.json":
        raise InputError(
            f"{folder} has no tokenizer.json, and its {source.tokenizer_path.name} alone does not "
            f"say how {model_type} splits text.",
            "Add tokenizer.json.",
        )
    merges = folder / "merges.txt"
    backend = Backend(models.BPE.from_file(str(source.tokenizer_path), str(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _check_room(max_len: int, least: int) -> None:
    if max_len < least:
        raise InputError(
            f"a length of {max_len} tokens leaves no room for text.", f"Give at least {least}."
        )


def _bos_id(source: AnySource | PassSource) -> int | None:
    stated = source.config_json.get("bos_token_id")
    is_token = type(stated) is int and 0 <= stated < source.config.vocab_size
    return stated if is_token else None


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, length: int | None = None
) -> "tuple[Tensor, Tensor]":
    """Tokens [B, S] int64, filled with `pad_id` on the right, and the mask [B, S] bool of the rest.

    S is `length`, by default that of the longest row. Raises InputError when a row is empty or
    does not fit, or there are no rows.
    """
    import torch

    if not rows or not all(rows):
        raise InputError("a batch has no rows, or a row without tokens.", "Leave out empty texts.")
    longest = max(len(row) for row in rows)
    length = longest if length is None else length
    if longest > length:
        raise InputError(
            f"a row of {longest} tokens does not fit into {length}.", "Cut it, or give more room."
        )
    tokens = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), length), dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return tokens, mask


@dataclass(frozen=True)
class TextPiece:
    """The source of one module."""

    name: str  # path below the standard library's folder
    text: str


@dataclass(frozen=True)
class HeldoutText:
    """Text that the bundled models were not trained on."""

    pieces: tuple[TextPiece, ...]
    missing: tuple[str, ...]  # modules that were looked for and are not readable here

    @property
    def text(self) -> str:
        """All pieces, one after the other."""
        return "\n".join(piece.text for piece in self.pieces)

    @property
    def description(self) -> str:
        """Where the text is from, for a report."""
        names = ", ".join(piece.name for piece in self.pieces)
        return f"held-out standard library modules: {names}"


def heldout_text(minimum_bytes: int) -> HeldoutText:
    """Held-out modules of the running Python, in a fixed order, until `minimum_bytes` are reached.

    All that are readable when they do not reach it. Raises InputError when none is.
    """
    library = Path(sysconfig.get_path("stdlib"))
    pieces: list[TextPiece] = []
    missing: list[str] = []
    found_bytes = 0
    for name in _heldout_modules():
        if found_bytes >= minimum_bytes and pieces:
            break
        try:
            text = (library / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            missing.append(name)
            continue
        if text:
            pieces.append(TextPiece(name, text))
            found_bytes += len(text.encode())
    if not pieces:
        raise InputError(
            f"the standard library's sources are not readable in {library}.",
            "Give a text of your own with --text FILE.",
        )
    return HeldoutText(tuple(pieces), tuple(missing))


def english_text() -> str:
    """The language reference of Python, which comes with it as text for `help()`; "" without."""
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    try:
        *_, assignment = ast.parse(path.read_text("utf-8")).body
        topics = ast.literal_eval(assignment.value) if isinstance(assignment, ast.Assign) else None
    except (OSError, ValueError, SyntaxError):
        return ""
    if not isinstance(topics, dict):
        return ""
    return "\n".join(text for text in topics.values() if isinstance(text, str))


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; raises InputError when it is unreadable, empty or not UTF-8."""
    try:
        text = read_input(path, MOST_TEXT_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}.", "Give a text file with --text FILE."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start}).", "Convert it to UTF-8."
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty.", "Give a file with text in it.")
    return text


def _heldout_modules() -> list[str]:
    """Paths below the standard library's folder that the bundled models were not trained on."""
    try:
        modules = json.loads(_HELDOUT_FILE.read_bytes())["modules"]
        if isinstance(modules, list) and all(isinstance(name, str) for name in modules):
            return modules
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{_HELDOUT_FILE} is missing or damaged.",
        "Install topout again, or give a text of your own with --text FILE.",
    )
