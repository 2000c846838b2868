"""Two jobs: files found again by rank, cycle or name, and never paired by chance."""

from pathlib import Path
from typing import Any

import pytest

from tests.trace.analysis.example_traces import kernel, trace
from topout.errors import InputError
from topout.records.trace import TraceDiff
from topout.trace.analysis.diff_over_ranks import diff_ranks
from topout.trace.analysis.groups import load_rules
from topout.trace.table import Trace

RULES = load_rules()


def job(folder: str, took_ns: dict[str, int], **fields: Any) -> list[Trace]:
    """A file of each name, with one kernel."""
    return [
        trace(kernel(0, took), path=Path(folder) / name, **fields) for name, took in took_ns.items()
    ]


def walls_ns(found: TraceDiff) -> tuple[int, int]:
    return round(found.wall_before_s * 1e9), round(found.wall_after_s * 1e9)


def test_files_without_a_rank_are_found_again_by_name() -> None:
    before = job("a", {"x.csv": 100, "y.csv": 900})
    after = job("b", {"y.csv": 1900, "x.csv": 100})
    found = diff_ranks(before, after, RULES)
    (products,) = found.groups
    assert products.before_s == pytest.approx(500e-9)
    assert products.after_s == pytest.approx(1000e-9)
    assert walls_ns(found) == (900, 1900)
    assert found.findings[-1].startswith("The recordings did not change alike: y.csv went from")
    assert "ranks" not in found.reasons


def test_a_file_that_only_one_job_has_is_left_out() -> None:
    before = job("a", {"x.csv": 100, "y.csv": 900})
    found = diff_ranks(before, job("b", {"x.csv": 150, "z.csv": 5000}), RULES)
    assert walls_ns(found) == (100, 150)
    assert found.reasons["ranks"].startswith("2 of 4 traces have no counterpart")


def test_two_files_of_one_rank_that_are_no_cycles_are_found_again_by_name() -> None:
    before = job("a", {"x.json": 100, "y.json": 900}, rank=0)
    after = job("b", {"x.json": 200, "y.json": 900}, rank=0)
    found = diff_ranks(before, after, RULES)
    (products,) = found.groups
    assert products.before_s == pytest.approx(500e-9)
    assert products.after_s == pytest.approx(550e-9)


def test_files_with_nothing_in_common_are_refused_with_what_would_join_them() -> None:
    before, after = job("a", {"7.csv": 100, "8.csv": 900}), job("b", {"91.csv": 1, "92.csv": 2})
    with pytest.raises(InputError, match="a and b have no rank in common") as caught:
        diff_ranks(before, after, RULES)
    assert "run-rank0.csv" in caught.value.remedy


def test_a_single_file_of_each_job_is_compared_whatever_its_name() -> None:
    found = diff_ranks(job("a", {"7.csv": 100}), job("b", {"91.csv": 200}, rank=3), RULES)
    assert walls_ns(found) == (100, 200)
