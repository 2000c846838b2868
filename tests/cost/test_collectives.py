"""Collectives by hand: 8 devices, links of 1 GB/s, 1 ms a hop."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.cost.collectives import all_gather_s, all_reduce_s, collective_s
from topout.errors import InputError


def test_ring_and_tree() -> None:
    # 1 GB: ring 2·7·(1 ms + 1 s/8) = 1.764 s; tree 2·3·1 ms + 2 s = 2.006 s.
    assert all_reduce_s(1e9, 8, 1e9, 1e-3) == pytest.approx(1.764)
    # 1 MB: ring 2·7·(1 ms + 0.125 ms) = 15.75 ms; tree 6 ms + 2 ms = 8 ms.
    assert all_reduce_s(1e6, 8, 1e9, 1e-3) == pytest.approx(8e-3)
    # The other two send once round: 7·(1 ms + 0.125 s).
    assert all_gather_s(1e9, 8, 1e9, 1e-3) == pytest.approx(0.882)
    assert collective_s("reduce_scatter", 1e9, 8, 1e9, 1e-3) == pytest.approx(0.882)
    assert collective_s("all_reduce", 1e9, 8, 1e9, 1e-3) == pytest.approx(1.764)


def test_two_devices() -> None:
    """A ring of two is a tree of two hops, and moves half as much."""
    # 1 GB: 2·1·(1 ms + 0.5 s) = 1.002 s; tree 2·1 ms + 2 s.
    assert all_reduce_s(1e9, 2, 1e9, 1e-3) == pytest.approx(1.002)
    assert all_gather_s(1e9, 2, 1e9, 1e-3) == pytest.approx(0.501)
    assert all_reduce_s(0.0, 2, 1e9, 1e-3) == pytest.approx(2e-3)


def test_a_tree_of_a_count_that_is_no_power_of_two() -> None:
    # 5 devices, 1 kB: three levels, 2·3·1 ms + 2·1 µs; ring 2·4·1.0002 ms.
    assert all_reduce_s(1e3, 5, 1e9, 1e-3) == pytest.approx(6.002e-3)
    # 9 devices: four levels.
    assert all_reduce_s(1e3, 9, 1e9, 1e-3) == pytest.approx(8.002e-3)


def test_one_device_sends_nothing() -> None:
    assert all_reduce_s(1e9, 1, 1e9, 1e-3) == 0.0
    assert all_gather_s(1e9, 1, 1e9, 1e-3) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1e12), st.integers(1, 512), st.floats(1e6, 1e12), st.floats(0, 1e-2))
def test_an_all_reduce_is_never_slower_than_its_two_halves(
    payload: float, devices: int, rate: float, latency: float
) -> None:
    halves = 2 * all_gather_s(payload, devices, rate, latency)
    assert 0 <= all_reduce_s(payload, devices, rate, latency) <= halves * (1 + 1e-12)


@pytest.mark.parametrize(
    "wrong", [(1.0, 0, 1.0, 0.0), (-1.0, 2, 1.0, 0.0), (1.0, 2, 0.0, 0.0), (1.0, 2, 1.0, -1.0)]
)
def test_what_cannot_be_is_refused(wrong: tuple[float, int, float, float]) -> None:
    with pytest.raises(InputError):
        all_reduce_s(*wrong)
    with pytest.raises(InputError):
        all_gather_s(*wrong)


def test_the_least_that_can_be() -> None:
    """One byte a second, no latency, one device: 2·(0 + 1/2) s between two."""
    assert all_reduce_s(1.0, 2, 1.0, 0.0) == 1.0
    assert all_reduce_s(1.0, 1, 1.0, 0.0) == 0.0


def test_a_message_goes_once() -> None:
    # 1 ms and 1e6 bytes at 1e9 bytes/s.
    assert collective_s("send", 1e6, 2, 1e9, 1e-3) == pytest.approx(2e-3)
