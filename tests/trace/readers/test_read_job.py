"""Whether traces belong together."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from topout.trace.readers.read_job import doubts_of_job, span_of
from topout.trace.table import Trace, with_all_columns

NOW = 1_790_857_026_000_000_000


def trace(start_ns: int = 0, **more: Any) -> Trace:
    events = with_all_columns(
        pl.DataFrame({"start_ns": [start_ns, start_ns + 5], "duration_ns": [100, 10]})
    )
    known = {"rank": 0, "world_size": 1, "host": "a", "origin_ns": NOW, "backend": "nccl", **more}
    return Trace(path=Path(f"rank{known['rank']}.json"), format="kineto", events=events, **known)


def job(size: int, *ranks: int, **more: Any) -> list[Trace]:
    return [trace(rank=rank, world_size=size, **more) for rank in ranks]


def test_what_fits_is_not_doubted() -> None:
    assert doubts_of_job(job(4, 0, 1, 2, 3)) == []
    assert doubts_of_job([trace()]) == []
    assert doubts_of_job([trace(rank=None, world_size=None)]) == []


@pytest.mark.parametrize(
    ("traces", "doubt"),
    [
        (job(4, 1), "3 of 4 ranks are missing: 0, 2, 3."),
        (job(64, 0), "63 of 64 ranks are missing: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …."),
        (job(2, 0, 1, 1), "More than one file each says it is rank 1."),
        (job(2, 0, 1, 5), "Rank 5 in a job of 2 ranks."),
        ([*job(2, 0, 1), trace(rank=None, world_size=None)], "The rank is not known of rankNone"),
        ([*job(2, 0), *job(4, 1)], "different jobs: 2, 4 ranks"),
        ([*job(2, 0), *job(2, 1, backend="gloo")], "different back ends: gloo, nccl"),
        ([*job(2, 0), *job(2, 1, host="b")], "2 hosts (a, b)"),
        ([*job(2, 0), *job(2, 1, origin_ns=NOW - 10**9)], "base times of the traces differ"),
        ([*job(2, 0), *job(2, 1, start_ns=10**9)], "no time in common"),
    ],
)
def test_what_does_not_fit_is_said(traces: list[Trace], doubt: str) -> None:
    assert any(doubt in each for each in doubts_of_job(traces)), doubts_of_job(traces)


def test_spans_are_of_unix_time() -> None:
    assert span_of(trace(7)) == (NOW + 7, NOW + 107)
    assert span_of(trace(7, origin_ns=0)) is None
