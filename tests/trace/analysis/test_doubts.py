"""Doubts are raised where files do not fit together, and only there."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.trace.analysis.example_traces import collective, kernel, rank, trace
from topout.records.trace import DeviceTime, GroupTime
from topout.trace.analysis.alignment import Alignment
from topout.trace.analysis.communication import study
from topout.trace.analysis.doubts import doubts_of, doubts_of_groups
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.table import Device, Trace

_DAY = 86_400 * 10**9


def _sentences(*traces: Trace) -> str:
    found = doubts_of(traces, study(traces)[1])
    assert all(each.remedy for each in found)
    return " ".join(each.sentence for each in found)


def _ranks(**second: object) -> list[Trace]:
    first = rank(0, collective(0, 100), origin_ns=_DAY, host="a", backend="nccl")
    fields = {"origin_ns": _DAY, "host": "a", "backend": "nccl"} | second
    return [first, rank(1, collective(0, 100), **fields)]


def test_ranks_of_one_job_raise_none() -> None:
    assert _sentences(*_ranks()) == ""
    assert _sentences(trace(kernel(0, 10))) == ""


def _about(*traces: Trace) -> list[tuple[str, str]]:
    found = doubts_of(traces, study(traces)[1])
    return [(each.about, each.sentence) for each in found if "negative" in each.sentence]


def test_what_a_reader_mended_is_passed_on_and_names_the_file_once() -> None:
    said = "3 durations were negative."
    assert _about(trace(kernel(0, 10), doubts=(said,))) == [("example.json", said)]


def test_work_of_no_device_is_told_and_not_dropped_silently() -> None:
    lost = [kernel(200, 1000, device=None), kernel(1200, 500, device=-1)]
    (doubt,) = analyse([trace(kernel(0, 100), *lost)], load_rules()).doubts
    assert (doubt.about, doubt.sentence) == (
        "example.json",
        "It does not say on which device 2 of its kernels, copies and fills ran (1.50 µs): they "
        "are counted for none.",
    )


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    said = ("3 durations were negative.",)
    alike = [trace(kernel(0, 10), doubts=said, path=Path(f"{name}/t.json")) for name in "ab"]
    assert [about for about, _ in _about(*alike)] == ["a/t.json", "b/t.json"]


def test_missing_ranks_are_named() -> None:
    found = _sentences(rank(1, collective(0, 10, group_size=4), world_size=4))
    assert "4 ranks, and of 3 there is no trace (0, 2, 3)" in found


def test_many_missing_ranks_are_counted_but_not_all_named() -> None:
    found = _sentences(rank(0, collective(0, 10), world_size=100))
    assert "of 99 there is no trace (1, 2, 3, 4 and 95 more)" in found


def test_files_that_do_not_say_their_rank() -> None:
    both = [trace(kernel(0, 10), path=Path(name)) for name in ("a.json", "b.json")]
    assert "2 of 2 files do not say their rank (a.json, b.json)" in _sentences(*both)


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"backend": "gloo"}, "the backend is gloo in one file and nccl"),
        ({"format": "nsys_sqlite"}, "the format is kineto in one file and nsys_sqlite"),
        ({"world_size": 4}, "the world size is 2 in one file and 4"),
        ({"origin_ns": 2 * _DAY}, "recorded before others began"),
    ],
)
def test_signs_of_several_jobs(changes: dict[str, object], sign: str) -> None:
    found = _sentences(*_ranks(**changes))
    assert "may be of several jobs" in found
    assert sign in found


def test_a_rank_that_occurs_twice_is_a_sign_of_several_jobs() -> None:
    twice = [rank(0, collective(0, 10)), rank(0, collective(0, 10))]
    assert "rank 0 occurs more than once" in _sentences(*twice)


def test_a_rank_beyond_the_job_is_a_sign_of_several_jobs() -> None:
    found = _sentences(rank(0, collective(0, 10)), rank(5, collective(0, 10)))
    assert "there is rank 5 in a job of 2" in found


@pytest.mark.parametrize(("later_ns", "is_said"), [(99, False), (101, True)])
def test_old_traces_without_a_base_time_count_from_1970(later_ns: int, is_said: bool) -> None:
    now = 1_790_857_026_000_000_000
    first, second = (rank(number, kernel(now, 100)) for number in (0, 1))
    later = rank(1, kernel(now + later_ns, 100))
    assert "recorded before others began" not in _sentences(first, second)
    assert ("recorded before others began" in _sentences(first, later)) == is_said
    unknown = rank(1, kernel(later_ns, 100))  # from a moment that is not known
    assert "recorded before others began" not in _sentences(first, unknown)


def test_clocks_that_differ_are_told_with_how_much() -> None:
    ahead = [
        rank(0, collective(0, 100_000), origin_ns=_DAY, host="a"),
        rank(1, collective(300_000, 100_000), origin_ns=_DAY, host="b"),
    ]
    assert "rank1.json is 300 µs ahead of that of rank0.json, by the ends of 1 collectives" in (
        _sentences(*ahead)
    )
    near = [ahead[0], rank(1, collective(20_000, 100_000), origin_ns=_DAY, host="b")]
    assert "clock" not in _sentences(*near)


def test_clocks_that_nothing_joins() -> None:
    apart = [rank(0, kernel(0, 10)), rank(1, kernel(0, 10))]
    assert "Nothing joins the clock of rank1.json" in _sentences(*apart)
    assert doubts_of(apart, Alignment((0, 0), (0, 0), (None, None))) == []


def _device(*groups: tuple[str, float, list[str]]) -> DeviceTime:
    (device,) = analyse([trace(kernel(0, 10))], load_rules()).ranks
    return replace(
        device,
        groups=[
            GroupTime(name=name, calls=1, total_s=total, share=total, examples=names)
            for name, total, names in groups
        ],
    )


def test_much_time_in_work_that_no_rule_names_is_a_doubt() -> None:
    known, unknown = ("matrix-mul", 0.8, ["gemm"]), ("other", 0.2, ["fusion_12", "x" * 80])
    (doubt,) = doubts_of_groups([_device(known, unknown)])
    assert doubt.sentence == (
        "20 % of the time is in kernels that no rule puts into a group: fusion_12, "
        f"{'x' * 32}…{'x' * 32}."
    )
    assert "--rules" in doubt.remedy


def test_a_tenth_of_other_work_or_less_is_none() -> None:
    assert doubts_of_groups([_device(("matrix-mul", 0.9, ["gemm"]), ("other", 0.1, ["a"]))]) == []
    assert doubts_of_groups([_device(("other", 0.0, ["a"]))]) == []
    assert doubts_of_groups([]) == []


def test_other_work_counts_over_all_devices() -> None:
    quiet, odd = _device(("matrix-mul", 9.0, ["gemm"])), _device(("other", 1.0, ["a"]))
    assert doubts_of_groups([quiet, odd]) == []
    assert "50 % of the time" in doubts_of_groups([quiet, *[odd] * 9])[0].sentence


def test_several_kinds_of_devices_in_one_job_are_a_doubt() -> None:
    def on(name: str) -> dict[str, object]:
        return {"devices": (Device(0, name), Device(1, "an idle one"))}

    first = rank(0, collective(0, 100), **on("A100"))
    assert "several kinds" not in _sentences(first, rank(1, collective(0, 100), **on("A100")))
    found = _sentences(first, rank(1, collective(0, 100), **on("V100")))
    assert "The files are of several kinds of devices: A100, V100." in found


def test_other_versions_are_a_sign_of_several_jobs() -> None:
    first = rank(0, collective(0, 100), versions={"pytorch": "2.4"})
    found = _sentences(first, rank(1, collective(0, 100), versions={"pytorch": "2.1"}))
    assert "pytorch is 2.1 in one file and 2.4" in found
