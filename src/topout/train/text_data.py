"""A user's file as samples: its rows, tokenized, cut to one length, its labels numbered."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from topout.errors import InputError
from topout.train.rows import Rows
from topout.train.samples import Samples, padded, windows

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts to token ids, with the special tokens that the model expects around a text."""


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
        description=f"{path.name}: {len(stream)} tokens in {_texts(len(rows.texts))}",
        skipped_rows=tuple(rows.faults),
    )


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count} texts"


def _fitted(ids: list[int], sequence_len: int) -> list[int]:
    if len(ids) <= sequence_len:
        return ids
    return [*ids[: sequence_len - 1], ids[-1]]


def _by_number(name: str) -> tuple[int, int, str]:
    """Numbers first, in their order: "2" before "10" before "neutral"."""
    is_number = name.isdecimal() and len(name) < 20
    return (0, int(name), "") if is_number else (1, 0, name)
