"""Rows of token ids of unequal length to one batch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from topout.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


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
