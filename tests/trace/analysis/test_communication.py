"""Bytes, transfer and waiting of collectives and copies, counted by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace.analysis.example_traces import (
    Row,
    collective,
    copy,
    kernel,
    mark,
    operator,
    rank,
    trace,
)
from topout.records.trace import Communication
from topout.trace.analysis.collectives import collective_runs
from topout.trace.analysis.communication import communication_of


def _cells(found: Communication) -> dict[tuple[int, int], tuple[int, int]]:
    """Bytes and calls by source and destination."""
    return {(each.source, each.destination): (each.bytes, each.calls) for each in found.transfers}


def test_the_last_to_come_waits_for_nobody() -> None:
    # Run 1: rank 0 enters at 0, rank 1 at 60, both leave at 100. Run 2: 210 and 200, leave at 250.
    found = communication_of(
        [
            rank(0, collective(0, 100), collective(210, 40)),
            rank(1, collective(60, 40), collective(200, 50)),
        ]
    )
    (all_reduce,) = found.collectives
    assert found.unit == "rank"
    assert (all_reduce.name, all_reduce.group_size, all_reduce.calls) == ("all_reduce", 2, 2)
    assert all_reduce.total_s == pytest.approx(115e-9)  # (140 + 90) / 2
    assert all_reduce.transfer_s == pytest.approx(80e-9)  # 40 + 40
    assert all_reduce.waiting_s == pytest.approx(35e-9)  # (60 + 10) / 2
    assert all_reduce.bytes == 2 * 1000 * 4
    assert all_reduce.sent_bytes == 8000  # 2·(2 − 1)/2 of it
    assert all_reduce.bus_bandwidth_bytes_per_s == pytest.approx(8000 / 80e-9)
    assert all_reduce.reason is None
    assert _cells(found) == {(0, 1): (8000, 2), (1, 0): (8000, 2)}


def test_the_late_rank_is_found_whatever_its_clock_says() -> None:
    # Rank 1 comes last each time; its clock is an hour behind.
    hour = 3600 * 10**9
    found = communication_of(
        [
            rank(0, collective(hour, 100), collective(hour + 200, 90), host="a"),
            rank(1, collective(80, 20), collective(270, 20), host="b"),
        ]
    )
    assert found.collectives[0].late_rank == 1


def test_nobody_is_late_where_nobody_waits() -> None:
    found = communication_of([rank(0, collective(0, 100)), rank(1, collective(0, 100))])
    assert found.collectives[0].late_rank is None
    assert found.collectives[0].waiting_s == 0


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 500)), min_size=1, max_size=5),
)
def test_transfer_and_waiting_make_up_the_time(ranks: int, runs: list[tuple[int, int]]) -> None:
    traces = []
    for number in range(ranks):
        rows = [
            collective(10_000 * place - spent, spent, elements, group_size=ranks)
            for place, (elements, duration) in enumerate(runs)
            for spent in [duration + 7 * number * place]
        ]
        traces.append(rank(number, *rows, world_size=ranks))
    (found,) = communication_of(traces).collectives
    assert found.transfer_s is not None
    assert found.waiting_s is not None
    assert found.transfer_s + found.waiting_s == pytest.approx(found.total_s)
    assert found.transfer_s == pytest.approx(sum(duration for _, duration in runs) / 1e9)
    size = 4 * sum(elements for elements, _ in runs)
    assert found.bytes == size
    assert found.sent_bytes == round(size * 2 * (ranks - 1) / ranks)


def test_four_ranks_send_round_the_ring() -> None:
    traces = [
        rank(number, collective(0, 10, 300, collective="all_gather", elements_out=1200,
                                group_size=4), world_size=4)
        for number in range(4)
    ]  # fmt: skip
    # The whole is 1200 floats; each rank sends three quarters: 3600 bytes.
    assert _cells(communication_of(traces)) == {
        (0, 1): (3600, 1), (1, 2): (3600, 1), (2, 3): (3600, 1), (3, 0): (3600, 1),
    }  # fmt: skip


def test_one_rank_of_several_shows_its_own_row_and_says_what_it_cannot() -> None:
    found = communication_of([rank(1, collective(0, 100), world_size=2)])
    (all_reduce,) = found.collectives
    assert all_reduce.transfer_s is None
    assert all_reduce.waiting_s is None
    assert "all ranks" in (all_reduce.reason or "")
    assert all_reduce.bus_bandwidth_bytes_per_s == pytest.approx(4000 / 100e-9)
    assert _cells(found) == {(1, 0): (4000, 1)}


def test_groups_of_ranks_are_kept_apart() -> None:
    pairs = {0: "a", 1: "a", 2: "b", 3: "b"}
    found = communication_of(
        [
            rank(number, collective(0, 10 + number, group_name=name), world_size=4)
            for number, name in pairs.items()
        ]
    )
    assert {each.group for each in found.collectives} == {"a", "b"}
    assert set(_cells(found)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_groups_that_cannot_be_told_apart_give_a_reason_and_no_waiting() -> None:
    found = communication_of(
        [rank(number, collective(0, 10, group_name=None), world_size=4) for number in range(4)]
    )
    (all_reduce,) = found.collectives
    assert all_reduce.transfer_s is None
    assert "groups of 2" in (all_reduce.reason or "")
    assert found.transfers == []
    assert "transfers" in found.reasons


def test_devices_of_one_process_take_the_place_of_ranks() -> None:
    row: Row = {"collective": "broadcast", "group_size": None, "group_name": None}
    row |= {"elements_in": None, "elements_out": None}
    found = communication_of(
        [trace(collective(0, 30, device=0, **row), collective(10, 20, device=1, **row))]
    )
    (broadcast,) = found.collectives
    assert found.unit == "device"
    assert broadcast.group_size == 2
    assert broadcast.bytes is None
    assert broadcast.transfer_s == pytest.approx(20e-9)
    assert "how large" in (broadcast.reason or "")


def test_copies_fill_the_matrix() -> None:
    found = communication_of(
        [
            trace(
                copy(0, 10, "HtoD", bytes=100, device=1),
                copy(10, 10, "HtoD", bytes=50, device=1),
                copy(20, 10, "DtoH", bytes=7, device=0),
                copy(30, 10, "PtoP", bytes=9, device=0, from_device=0, to_device=1),
                copy(40, 10, "DtoD", bytes=11, device=0),
                copy(50, 10, "PtoP", bytes=13, device=0),  # to whom is not said
                copy(60, 10, "HtoD", device=0),  # how much is not said
            )
        ]
    )
    assert found.unit == "device"
    assert _cells(found) == {
        (-1, 0): (None, 1), (-1, 1): (150, 2), (0, -1): (7, 1), (0, 0): (11, 1), (0, 1): (9, 1),
    }  # fmt: skip
    times = {(each.source, each.destination): each.total_s for each in found.transfers}
    assert times[-1, 1] == pytest.approx(20e-9)
    assert "1 copies" in found.reasons["copies"]
    assert "1 copies" in found.reasons["bytes"]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (copy(0, 10, "HtoH", bytes=3, device=0), (-1, -1)),
        # Of two ends one is said: the kind of the copy gives both.
        (copy(0, 10, "DtoD", bytes=3, device=2, from_device=2), (2, 2)),
        (copy(0, 10, "HtoD", bytes=3, device=-1), None),  # the host is no device to copy to
        (copy(0, 10, "HtoD", bytes=3, device=None), None),
        (copy(0, 10, None, bytes=3), None),  # type: ignore[arg-type]
    ],
)
def test_the_ends_of_a_copy(row: Row, place: tuple[int, int] | None) -> None:
    assert _cells(communication_of([trace(row)])) == ({place: (3, 1)} if place else {})


def test_a_copy_goes_to_the_rank_that_uses_the_device() -> None:
    """Ranks 1 and 2 share device 0 of the host, rank 2 has device 2 too, rank 0 device 1."""
    host: Row = {"world_size": 3, "host": "a"}
    found = communication_of(
        [
            rank(
                0,
                copy(0, 10, "PtoP", bytes=11, device=1, from_device=1, to_device=0),  # of two
                copy(20, 10, "PtoP", bytes=13, device=1, from_device=1, to_device=2),
                copy(40, 10, "PtoP", bytes=17, device=1, from_device=1, to_device=7),  # of none
                **host,
            ),
            rank(1, kernel(0, 10, device=0), **host),
            rank(2, kernel(0, 10, device=2), copy(20, 10, "HtoD", bytes=19, device=0), **host),
        ]
    )
    assert _cells(found) == {(0, 2): (13, 1), (-1, 2): (19, 1)}
    assert found.reasons["copies"].startswith("2 copies are not in the matrix")


def test_copies_of_a_rank_are_those_of_its_device() -> None:
    # Each rank has its own device 0, on two hosts.
    found = communication_of(
        [
            rank(number, copy(0, 10, bytes=10 + number), host=host)
            for number, host in enumerate("ab")
        ]
    )
    assert _cells(found) == {(-1, 0): (10, 1), (-1, 1): (11, 1)}


def test_gloo_runs_on_the_host_and_operators_that_queue_it_do_not_count_again() -> None:
    traces = [
        rank(
            number,
            mark(0, 100 - 30 * number, "gloo:all_reduce", collective="all_reduce",
                 elements_in=500, element_type="float", group_size=2, thread=2),
            operator(0, 5, "c10d::allreduce_", collective="all_reduce"),
            operator(1, 3, "record_param_comms", collective="all_reduce", elements_in=500,
                     element_type="Float"),
        )
        for number in range(2)
    ]  # fmt: skip
    (found,) = communication_of(traces).collectives
    assert found.calls == 1
    assert found.bytes == 2000
    assert found.transfer_s == pytest.approx(70e-9)


def test_what_a_mark_does_not_say_comes_from_the_operator_that_queued_it() -> None:
    marks = [mark(at, 50, "gloo:all_reduce", collective="all_reduce") for at in (10, 110)]
    queued = [
        operator(at, 5, "record_param_comms", collective="all_reduce", elements_in=count,
                 element_type="Float", group_size=2, group_name="0")
        for at, count in ((0, 10), (100, 20))
    ]  # fmt: skip
    runs = collective_runs(rank(0, *marks, *queued))
    assert runs["bytes"].to_list() == [40, 80]
    assert runs["group"].to_list() == ["0", "0"]
    # One operator is missing: which run it queued is not known.
    assert collective_runs(rank(0, *marks, queued[0]))["bytes"].to_list() == [None, None]


def test_a_trace_without_communication() -> None:
    assert communication_of([trace(kernel(0, 10))]) == Communication(unit="device")


def test_four_ranks_by_hand() -> None:
    # 4000 bytes in 100, 90, 80 and 40 ns, that all end at 100; 0.5 ms later in 40 ns on each.
    spent = (100, 90, 80, 40)
    later = 500_000
    found = communication_of(
        [
            rank(
                number,
                collective(100 - spent[number], spent[number], group_size=4),
                collective(later, 40, 2000, group_size=4),
                world_size=4,
            )
            for number in range(4)
        ]
    )
    (all_reduce,) = found.collectives
    assert all_reduce.group == "default_pg"
    assert all_reduce.group_size == 4
    assert all_reduce.calls == 2
    assert all_reduce.bytes == 12_000
    assert all_reduce.total_s == pytest.approx(117.5e-9)  # (310 + 160) / 4
    assert all_reduce.transfer_s == pytest.approx(80e-9)  # 40 + 40
    assert all_reduce.waiting_s == pytest.approx(37.5e-9)  # (60 + 50 + 40) / 4
    # Each rank sends 2·3/4 of the buffers, and so much goes over its link: 18,000 bytes in 80 ns.
    assert all_reduce.sent_bytes == 18_000
    assert all_reduce.bus_bandwidth_bytes_per_s == pytest.approx(18_000 / 80e-9)
    assert [
        (each.source, each.destination, each.bytes, each.calls, each.total_s)
        for each in found.transfers
    ] == [
        (0, 1, 18_000, 2, pytest.approx(80e-9)),
        (1, 2, 18_000, 2, pytest.approx(80e-9)),
        (2, 3, 18_000, 2, pytest.approx(80e-9)),
        (3, 0, 18_000, 2, pytest.approx(80e-9)),
    ]


@pytest.mark.parametrize(
    ("name", "sent", "bus"),
    [
        # Of 4000 bytes over 4 ranks three quarters; a chain carries all of them over each link.
        ("all_gather", 3000, 3000),
        ("broadcast", 3000, 4000),
        ("reduce", 3000, 4000),
        ("barrier", 0, None),
    ],
)
def test_what_a_link_carries_of_each_collective(name: str, sent: int, bus: int | None) -> None:
    row: Row = {"collective": name, "group_size": 4, "elements_in": 1000, "elements_out": 1000}
    found = communication_of(
        [rank(number, collective(0, 50, **row), world_size=4) for number in range(4)]
    )
    (only,) = found.collectives
    assert (only.name, only.bytes, only.sent_bytes) == (name, 4000, sent)
    expected = None if bus is None else pytest.approx(bus / 50e-9)
    assert only.bus_bandwidth_bytes_per_s == expected


def test_runs_without_a_partner_are_left_out_of_the_bandwidth() -> None:
    # Rank 1 stopped before the second run: of 4 + 8 kB in 40 + 100 ns, 4 kB are matched.
    found = communication_of(
        [
            rank(0, collective(0, 40), collective(100, 100, 2000)),
            rank(1, collective(10, 30)),
        ]
    )
    (all_reduce,) = found.collectives
    assert (all_reduce.calls, all_reduce.bytes) == (2, 12_000)
    assert all_reduce.total_s == pytest.approx(85e-9)  # (140 + 30) / 2
    assert all_reduce.transfer_s == pytest.approx(30e-9)
    assert all_reduce.waiting_s == pytest.approx(5e-9)  # 10 of rank 0
    assert all_reduce.bus_bandwidth_bytes_per_s == pytest.approx(4000 / 30e-9)
    assert all_reduce.reason is not None and all_reduce.reason.startswith("1 runs at the edges")
