import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.models.text import pad_rows


@given(
    rows=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=5),
    spare=st.none() | st.integers(0, 3),
)
def test_rows_are_kept_and_the_rest_is_padding(rows: list[list[int]], spare: int | None) -> None:
    longest = max(map(len, rows))
    tokens, mask = pad_rows(rows, 100, None if spare is None else longest + spare)
    assert tokens.shape == mask.shape == (len(rows), longest + (spare or 0))
    assert (tokens.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert [row[seen].tolist() for row, seen in zip(tokens, mask, strict=True)] == rows
    assert bool((tokens[~mask] == 100).all())
    assert not (mask[:, 1:] & ~mask[:, :-1]).any()  # padding is on the right


@pytest.mark.parametrize("rows", [[], [[]], [[1], []]])
def test_nothing_to_pad(rows: list[list[int]]) -> None:
    with pytest.raises(InputError, match="no rows, or a row without tokens"):
        pad_rows(rows, 0)


def test_a_row_that_does_not_fit() -> None:
    with pytest.raises(InputError, match="a row of 3 tokens does not fit into 2"):
        pad_rows([[1], [1, 2, 3]], 0, 2)
