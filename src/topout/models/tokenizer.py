"""Text to token ids and back: a model's own tokenizer, or bytes where it has none."""

from typing import Any, Protocol

from topout.errors import InputError
from topout.models.source import AnySource


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

    def __init__(self, tokenizer: Any, source: AnySource) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = source.config.vocab_size
        self._file = source.tokenizer_path
        self.bos_id = _bos_id(source)
        self.description = f"tokenizer of {source.name}"

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; raises InputError when the model has no row for one of them."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        self._check(ids)
        return ids

    def encode_sequence(self, text: str, max_len: int) -> list[int]:
        """Token ids of `text` with special tokens around it; raises InputError as `encode`."""
        specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        _check_room(max_len, specials + 1)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        encoding.truncate(max_len - specials)
        ids: list[int] = self._tokenizer.post_process(encoding, add_special_tokens=True).ids
        self._check(ids)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`, special tokens left out."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _check(self, ids: list[int]) -> None:
        if ids and max(ids) >= self._vocab_size:
            raise InputError(
                f"{self._file} gives the token {max(ids)}, and the model's vocabulary ends at "
                f"{self._vocab_size - 1}.",
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
        return [byte * self._stride % self._vocab_size for byte in text.encode()]

    def encode_sequence(self, text: str, max_len: int) -> list[int]:
        """The first `max_len` bytes; there are no special tokens."""
        _check_room(max_len, 1)
        return self.encode(text)[:max_len]

    def decode(self, ids: list[int]) -> str:
        """The text whose bytes lie at or below `ids`; bytes that are no UTF-8 show as �."""
        return bytes(min(i // self._stride, 255) for i in ids).decode(errors="replace")


def load_tokenizer(source: AnySource) -> Tokenizer:
    """The tokenizer of a model, or `ByteTokenizer` when it has none (its `description` says so).

    Reads tokenizer.json, or GPT-2's vocab.json and merges.txt. Raises InputError for a file that
    is not a tokenizer.
    """
    path = source.tokenizer_path
    if path is None:
        return ByteTokenizer(source.config.vocab_size)
    from tokenizers import Tokenizer as Backend

    try:
        is_whole = path.name == "tokenizer.json"
        backend = Backend.from_file(str(path)) if is_whole else _gpt2_backend(source)
    except InputError:
        raise
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(f"{path} is not a tokenizer ({error}).", "Download it again.") from None
    backend.no_truncation()
    backend.no_padding()
    return TrainedTokenizer(backend, source)


def _gpt2_backend(source: AnySource) -> Any:
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


def _bos_id(source: AnySource) -> int | None:
    stated = source.config_json.get("bos_token_id")
    is_token = type(stated) is int and 0 <= stated < source.config.vocab_size
    return stated if is_token else None
