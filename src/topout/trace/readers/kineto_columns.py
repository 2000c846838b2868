"""Columns of a scan as series of polars, one at a time, so that few are held twice."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from topout.kernels.trace_ops import Column, Counted, Stage
from topout.trace.readers.kineto_text import decode


class Scan(Protocol):
    """What both scanners offer once all bytes were fed."""

    @property
    def stage(self) -> Stage: ...
    @property
    def has_events(self) -> bool: ...
    @property
    def counts(self) -> dict[Counted, int]: ...
    @property
    def read_bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    def feed(self, piece: bytes) -> None: ...
    def finish(self) -> None: ...
    def take(self, name: str) -> Column | None: ...
    def strings(self) -> list[bytes]: ...
    def members(self) -> list[tuple[bytes, bytes]]: ...
    def close(self) -> None: ...


class Columns:
    """The columns of a finished scan; each can be taken once.

    `damaged_texts` counts the strings taken so far that were not whole UTF-8.
    """

    def __init__(self, scan: Scan) -> None:
        self.rows = scan.rows
        self.damaged_texts = 0
        self._scan = scan
        self._strings = scan.strings()

    def numbers(self, name: str, scale: float | None = None) -> pl.Series:
        """Whole numbers; or divided by `scale`. Null where an event has none."""
        column = self._scan.take(name)
        if column is None:
            return pl.Series(name, [None], pl.Int64).new_from_index(0, self.rows)
        values = pl.Series(name, column.values)
        if scale is not None:
            values = (values / scale).cast(pl.Float32)
        if column.present.all():
            return values
        present = pl.Series(column.present)
        return pl.select(pl.when(present).then(values).alias(name)).to_series()

    def text(self, name: str) -> "TextColumn":
        """A column of text, of which each distinct one is decoded once."""
        column = self._scan.take(name)
        if column is None:
            return TextColumn([], pl.Series([None], dtype=pl.UInt32).new_from_index(0, self.rows))
        used = np.zeros(len(self._strings), np.bool_)
        used[column.values[column.present]] = True
        number = np.cumsum(used, dtype=np.uint32) - used  # among those that are used
        raw = [self._strings[at] for at in np.flatnonzero(used)]
        codes = pl.Series(number[column.values].astype(np.uint32))
        if not column.present.all():
            present = pl.Series(column.present)
            codes = pl.select(pl.when(present).then(codes)).to_series()
        return TextColumn(raw, codes)

    def decoded(self, column: "TextColumn") -> list[str]:
        """Its distinct texts."""
        found = [decode(raw) for raw in column.raw]
        self.damaged_texts += sum(not each.intact for each in found)
        return [each.text for each in found]


class TextColumn:
    """Text as the numbers of distinct strings; null where an event has none."""

    def __init__(self, raw: Sequence[bytes], codes: pl.Series) -> None:
        self.raw = list(raw)
        self.codes = codes

    def spread(
        self, name: str, meanings: Sequence[str | None], dtype: pl.DataType | type[pl.DataType]
    ) -> pl.Series:
        """`meanings` of the distinct strings, in their order, row by row."""
        if not meanings:
            return pl.Series(name, [None], dtype).new_from_index(0, len(self.codes))
        return pl.Series(name, meanings, pl.String).cast(dtype).gather(self.codes).alias(name)

    def spread_with(
        self,
        name: str,
        meaning: Callable[[bytes], str | None],
        dtype: pl.DataType | type[pl.DataType],
    ) -> pl.Series:
        """The same for what a function makes of each distinct string."""
        return self.spread(name, [meaning(raw) for raw in self.raw], dtype)
