"""Samples ready for a model: token ids of one length, with labels, in one safetensors file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topout.errors import InputError, OutputError

Int32s = NDArray[np.int32]


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
    try:
        save_file(arrays, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}.", "Choose another place for the output."
        ) from None


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
