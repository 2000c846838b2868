"""Samples ready for a model: token ids of one length, with labels, in one safetensors file.

They come from a user's file (`rows` reads it), tokenized and cut to one length, or are made from a
seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topout.errors import InputError
from topout.input_file import is_there
from topout.models.source import AnySource
from topout.models.text import load_tokenizer
from topout.records import TrainTask
from topout.tensor_file import writing_tensors
from topout.train.plan import TrainRequest
from topout.train.rows import Rows, read_rows
from topout.units import counted

Int32s = NDArray[np.int32]
Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts to token ids, with the special tokens that the model expects around a text."""
GENERATED_LABELS = 4
MOST_GENERATED = 1024  # more are gone through again: what is learned is the same
_MARKED = 0.3  # of a generated sample's tokens, which tell its class
_TELLING = 4  # tokens that tell a class, if the vocabulary has room
_PREDICTABLE = 0.9  # of a generated language's tokens, which follow from the one before


@dataclass(frozen=True)
class Samples:
    """N samples of S tokens; what lies beyond a sample's length is padding."""

    tokens: Int32s  # [N, S]
    lengths: Int32s  # [N]
    labels: Int32s  # [N]; zeros for a language model, whose labels are its tokens
    label_names: list[str]
    description: str
    cut_samples: int = 0  # texts of which the end was left out
    skipped_rows: tuple[str, ...] = ()

    @property
    def padding_share(self) -> float:
        """Positions that are padding, of all."""
        return 1.0 - float(self.lengths.sum()) / self.tokens.size


def save_samples(samples: Samples, path: Path) -> None:
    """Write what the ranks read; raises OutputError."""
    from safetensors.numpy import save_file

    arrays = {"tokens": samples.tokens, "lengths": samples.lengths, "labels": samples.labels}
    with writing_tensors(path):
        save_file(arrays, path)


def padded(rows: list[list[int]], sequence_len: int, padding: int) -> tuple[Int32s, Int32s]:
    """Rows of token ids → (tokens [N, S], lengths [N]); every row must fit.

    Raises InputError when there is no row, or one without any token.
    """
    if not rows or not all(rows):
        raise InputError(
            "a sample has no token." if rows else "there is no sample.",
            "Give rows with text in them.",
        )
    tokens = np.full((len(rows), sequence_len), padding, dtype=np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return tokens, np.array([len(row) for row in rows], dtype=np.int32)


def windows(stream: list[int], sequence_len: int) -> Int32s:
    """A stream of tokens cut into [N, S] without overlap; an incomplete last window is left out."""
    count = len(stream) // sequence_len
    return np.array(stream[: count * sequence_len], dtype=np.int32).reshape(count, sequence_len)


def generated_classes(count: int, sequence_len: int, vocab_size: int, seed: int) -> Samples:
    """Random sequences in which three tokens of ten are one of the few that tell the class."""
    generator = np.random.default_rng(seed)
    classes = min(GENERATED_LABELS, vocab_size)
    labels = generator.integers(0, classes, size=count).astype(np.int32)
    tokens = generator.integers(0, vocab_size, size=(count, sequence_len))
    few = min(_TELLING, vocab_size // classes)
    own = labels[:, None] * few + generator.integers(0, few, size=tokens.shape)
    marked = generator.random(tokens.shape) < _MARKED
    return Samples(
        tokens=np.where(marked, own, tokens).astype(np.int32),
        lengths=np.full(count, sequence_len, dtype=np.int32),
        labels=labels,
        label_names=[f"class {number}" for number in range(classes)],
        description=f"generated from seed {seed}: {classes} classes, told by their own tokens",
    )


def generated_language(count: int, sequence_len: int, vocab_size: int, seed: int) -> Samples:
    """Sequences in which nine tokens of ten follow from the one before by a fixed table."""
    generator = np.random.default_rng(seed)
    words = min(vocab_size, 256)
    follower = generator.permutation(words)
    tokens = np.empty((count, sequence_len), dtype=np.int32)
    tokens[:, 0] = generator.integers(0, words, size=count)
    for place in range(1, sequence_len):
        follows = generator.random(count) < _PREDICTABLE
        any_word = generator.integers(0, words, size=count)
        tokens[:, place] = np.where(follows, follower[tokens[:, place - 1]], any_word)
    return Samples(
        tokens=tokens,
        lengths=np.full(count, sequence_len, dtype=np.int32),
        labels=np.zeros(count, dtype=np.int32),
        label_names=[],
        description=(
            f"generated from seed {seed}: {words} words, most of which follow from the one before"
        ),
    )


def classified_texts(
    path: Path,
    rows: Rows,
    encode: Encode,
    *,
    sequence_len: int,
    padding: int,
    needed: int,
    seed: int,
) -> Samples:
    """Rows with labels as samples; at most `needed` of them, drawn by `seed`, are tokenized.

    The last token of a text that is too long stays its last, since it may be one that marks the
    end. Raises InputError when there is one label only.
    """
    names = sorted(set(rows.labels), key=_by_number)
    if len(names) < 2:
        raise InputError(
            f"every row of {path} has the label {names[0]!r}, and there is nothing to tell apart.",
            "Give rows of two labels or more.",
        )
    drawn = np.random.default_rng(seed).permutation(len(rows.texts))[:needed]
    encoded = encode([rows.texts[number] for number in drawn])
    cut = sum(len(ids) > sequence_len for ids in encoded)
    fitting = [_fitted(ids, sequence_len) for ids in encoded]
    tokens, lengths = padded(fitting, sequence_len, padding)
    number_of = {name: number for number, name in enumerate(names)}
    return Samples(
        tokens=tokens,
        lengths=lengths,
        labels=np.array([number_of[rows.labels[row]] for row in drawn], dtype=np.int32),
        label_names=names,
        description=f"{path.name}: {len(rows.texts)} rows, {len(names)} labels",
        cut_samples=cut,
        skipped_rows=tuple(rows.faults),
    )


def language_windows(
    path: Path, rows: Rows, encode: Encode, *, sequence_len: int, needed: int, seed: int
) -> Samples:
    """Texts as one stream of tokens cut into windows; at most `needed`, drawn by `seed`.

    Raises InputError when the text is shorter than one window.
    """
    stream: list[int] = []
    for ids in encode(rows.texts):
        stream += ids
    whole = windows(stream, sequence_len)
    if not len(whole):
        raise InputError(
            f"{path} has {len(stream)} tokens, less than one sequence of {sequence_len}.",
            "Give more text or a smaller --sequence-len.",
        )
    drawn = np.random.default_rng(seed).permutation(len(whole))[:needed]
    return Samples(
        tokens=whole[drawn],
        lengths=np.full(len(drawn), sequence_len, dtype=np.int32),
        labels=np.zeros(len(drawn), dtype=np.int32),
        label_names=[],
        description=f"{path.name}: {len(stream)} tokens in {counted(len(rows.texts), 'text')}",
        skipped_rows=tuple(rows.faults),
    )


def _fitted(ids: list[int], sequence_len: int) -> list[int]:
    if len(ids) <= sequence_len:
        return ids
    return [*ids[: sequence_len - 1], ids[-1]]


def _by_number(name: str) -> tuple[int, int, str]:
    """Numbers first, in their order: "2" before "10" before "neutral"."""
    is_number = name.isdecimal() and len(name) < 20
    return (0, int(name), "") if is_number else (1, 0, name)


def text_encoder(source: AnySource, most_tokens: int, *, special_tokens: bool) -> Encode:
    """What tokenizes many texts; bytes stand for tokens where the model has no tokenizer.

    `special_tokens` puts around each text what the tokenizer's file says (BERT's [CLS] and
    [SEP]), and cuts it to `most_tokens` with them. Raises InputError for a file that is not a
    tokenizer; its function does for a token that the model has no row for.
    """
    tokenizer = load_tokenizer(source)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if special_tokens:
            return [tokenizer.encode_sequence(text, most_tokens) for text in texts]
        return [tokenizer.encode(text) for text in texts]

    return encode


def prepare_data(
    request: TrainRequest, source: AnySource, task: TrainTask, sequence_len: int, padding: int
) -> Samples:
    """The samples of all cases, at most as many as the largest one sees.

    Raises InputError for a file that cannot be used, UnsupportedError for a format not read.
    """
    needed = request.step_count * request.accumulation * request.batch_size * max(request.ranks)
    if request.data is None:
        make = generated_classes if task == "classify" else generated_language
        vocab_size = source.config.vocab_size
        return make(min(needed, MOST_GENERATED), sequence_len, vocab_size, request.seed)
    path = request.data
    if not is_there(path):
        raise InputError(f"there is no file {path}.", "Check --data.")
    label_column = request.label_column if task == "classify" else None
    rows = read_rows(path, request.text_column, label_column, skip_bad_rows=request.skip_bad_rows)
    encode = text_encoder(source, sequence_len, special_tokens=task == "classify")
    if task == "classify":
        return classified_texts(
            path,
            rows,
            encode,
            sequence_len=sequence_len,
            padding=padding,
            needed=needed,
            seed=request.seed,
        )
    return language_windows(
        path, rows, encode, sequence_len=sequence_len, needed=needed, seed=request.seed
    )
