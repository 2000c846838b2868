"""Bytes that the ring sends, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.analysis.collectives import bus_share, element_bytes, message_elements, sent_share


def _ring_all_reduce(parts: int) -> int:
    """Parts of the buffer that one rank of `parts` sends, step by step."""
    sent = sum(1 for _ in range(parts - 1))  # reduce-scatter: one part a step
    return sent + sum(1 for _ in range(parts - 1))  # all-gather: likewise


@given(st.integers(1, 64))
def test_an_all_reduce_sends_what_its_ring_does(ranks: int) -> None:
    share = sent_share("all_reduce", ranks)
    assert share == pytest.approx(_ring_all_reduce(ranks) / ranks)


@given(st.integers(1, 64))
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(ranks: int) -> None:
    parts = [sent_share(name, ranks) for name in ("reduce_scatter", "all_gather")]
    assert sent_share("all_reduce", ranks) == pytest.approx(sum(part or 0.0 for part in parts))


@pytest.mark.parametrize(
    ("name", "ranks", "share"),
    [
        ("all_reduce", 2, 1.0),
        ("all_reduce", 4, 1.5),
        ("all_gather", 4, 0.75),
        ("reduce_scatter", 8, 0.875),
        ("all_to_all", 4, 0.75),
        ("broadcast", 4, 0.75),  # three of four ranks pass it on
        ("send", 2, 1.0),
        ("barrier", 4, 0.0),
        ("all_reduce", 1, 0.0),
        ("unheard_of", 4, None),
        ("all_reduce", 0, None),
    ],
)
def test_shares_by_hand(name: str, ranks: int, share: float | None) -> None:
    assert sent_share(name, ranks) == share


def test_each_link_of_a_chain_carries_all_of_a_broadcast() -> None:
    assert bus_share("broadcast", 4) == 1.0
    assert bus_share("all_reduce", 4) == 1.5
    assert bus_share("barrier", 4) is None
    assert bus_share("all_reduce", 1) is None


@pytest.mark.parametrize(
    ("name", "elements_in", "elements_out", "ranks", "full"),
    [
        ("all_reduce", 100, 100, 4, 100),
        ("all_gather", 25, 100, 4, 100),
        ("all_gather", 25, None, 4, 100),
        ("all_gather", 25, None, None, None),
        ("reduce_scatter", 100, 25, 4, 100),
        ("reduce_scatter", None, 25, 4, 100),
        ("broadcast", 100, 100, 4, 100),
        ("all_reduce", None, None, 4, None),
    ],
)
def test_the_full_buffer(
    name: str, elements_in: int | None, elements_out: int | None, ranks: int | None, full: int
) -> None:
    assert message_elements(name, elements_in, elements_out, ranks) == full


@pytest.mark.parametrize(
    ("name", "size"),
    [("Float", 4), ("BFloat16", 2), ("c10::BFloat16", 2), ("Long", 8), ("Byte", 1),
     ("float", 4), ("Double", 8), ("", None), (None, None), ("Mystery", None)],
)  # fmt: skip
def test_sizes_of_element_types(name: str | None, size: int | None) -> None:
    assert element_bytes(name) == size
