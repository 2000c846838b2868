"""What a tensor occupies, against the set of addresses that its elements have."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.cost.graph.formula import rows_bytes, stored_bytes, stored_elements, tensors_in

axes = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 5, 25])), max_size=3)


@given(axes=axes)
def test_expanded_dimensions_count_once(axes: list[tuple[int, int]]) -> None:
    """Strides of 1, 5 and 25 with sizes to 4 do not overlap unless a stride comes twice."""
    strides = [stride for _, stride in axes if stride]
    tensor = torch.empty_strided([size for size, _ in axes], [stride for _, stride in axes])
    addresses = {
        sum(index * stride for index, (_, stride) in zip(place, axes, strict=True))
        for place in itertools.product(*(range(size) for size, _ in axes))
    }
    if len(set(strides)) == len(strides):
        assert stored_elements(tensor) == len(addresses)
    else:
        assert len(addresses) <= stored_elements(tensor) <= tensor.numel()


def test_overlapping_windows_are_stored_once() -> None:
    windows = torch.ones(10).unfold(0, 4, 1)
    assert windows.shape == (7, 4)
    assert stored_elements(windows) == 10


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_bytes(device: str) -> None:
    numbers = torch.empty(3, 1, dtype=torch.bfloat16, device=device)
    assert stored_bytes(numbers.expand(3, 100)) == 6
    assert stored_bytes(numbers[:0]) == 0
    assert rows_bytes(torch.empty(10, 4, 2, device=device), 3) == 3 * 8 * 4


def test_tensors_are_found_in_lists() -> None:
    one, two = torch.ones(1), torch.ones(2)
    assert list(tensors_in([one, None, (two, 3)])) == [one, two]
    assert list(tensors_in({"a": one})) == [one]
    assert list(tensors_in("text")) == []
