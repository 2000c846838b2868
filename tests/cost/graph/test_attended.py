"""Pairs that masks leave: those that transformers itself leaves in a mask of the same function."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import masking_utils as masks

from topout.cost.graph.attended import masked_pairs, window_pairs

_NO_PADDING = torch.zeros(1, dtype=torch.long)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "causal": masks.causal_mask_function,
    "all": masks.bidirectional_mask_function,
    "window": masks.sliding_window_causal_mask_function(5),
    "window of both sides": masks.sliding_window_bidirectional_mask_function(3),
    "chunks": masks.chunked_causal_mask_function(6, _NO_PADDING),
    "window, then causal or all": masks.and_masks(
        masks.sliding_window_overlay(4), masks.causal_mask_function
    ),
}
lengths = st.integers(1, 24)


def left_by_transformers(function: Callable[..., Any], queries: int, keys: int, first: int) -> int:
    rows = torch.arange(first, first + queries)[:, None]
    columns = torch.arange(keys)[None, :]
    left = function(0, 0, rows, columns)
    return int(torch.broadcast_to(left, (queries, keys)).sum())


@pytest.mark.parametrize("name", FUNCTIONS)
@given(queries=lengths, past=st.integers(0, 20))
def test_pairs_are_those_of_the_mask_of_transformers(name: str, queries: int, past: int) -> None:
    function, keys = FUNCTIONS[name], queries + past
    pairs = masked_pairs(function, queries, keys, past, 0)
    assert pairs == left_by_transformers(function, queries, keys, past)


def test_hand_counts() -> None:
    # 4 tokens: 1 + 2 + 3 + 4; a window of 2: 1 + 2 + 2 + 2; chunks of 3: 1 + 2 + 3 + 1.
    assert masked_pairs(FUNCTIONS["causal"], 4, 4, 0, 0) == 10
    assert masked_pairs(masks.sliding_window_causal_mask_function(2), 4, 4, 0, 0) == 7
    assert masked_pairs(masks.chunked_causal_mask_function(3, _NO_PADDING), 4, 4, 0, 0) == 7
    # A cache that slides begins at key 3 and holds 4 with the new one, of which 2 are seen.
    assert masked_pairs(masks.sliding_window_causal_mask_function(2), 1, 4, 6, 3) == 2


def test_a_mask_without_values_is_read_as_well() -> None:
    on_meta = masks.chunked_causal_mask_function(3, torch.zeros(1, dtype=torch.long, device="meta"))
    assert masked_pairs(on_meta, 4, 4, 0, 0) == 7


def test_a_function_that_is_not_known_gives_no_figure() -> None:
    def odd(*_: Any) -> bool:
        return True

    assert masked_pairs(odd, 4, 4, 0, 0) is None
    assert masked_pairs(masks.and_masks(masks.causal_mask_function, odd), 4, 4, 0, 0) is None


@given(new=lengths, past=st.integers(0, 20), window=st.none() | st.integers(1, 30))
def test_windows_aligned_with_the_last_key(new: int, past: int, window: int | None) -> None:
    seen = [past + number + 1 for number in range(new)]
    expected = sum(each if window is None else min(each, window) for each in seen)
    assert window_pairs(new, new + past, window) == expected
