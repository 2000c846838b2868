"""Time by kernel and group: counted by hand, and the sums of published runs to the last digit."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace.readers.nvprof_files import (
    BERT_NCCL_MS,
    BERT_TOP10_MS,
    GROUPS,
    PUBLISHED_MS,
    to_ns,
    write_published_run,
)
from topout.trace.analysis.breakdown import group_times, kernel_table
from topout.trace.analysis.groups import OTHER, load_rules, shipped_rules
from topout.trace.readers.profiler_csv import read_nvprof
from topout.trace.table import with_all_columns

RULES = load_rules()


def events(rows: list[tuple[int, str, str, int]]) -> pl.DataFrame:
    """From (device, kind, name, ns), one after another."""
    frame = pl.DataFrame(
        rows, schema=["device", "kind", "name", "duration_ns"], orient="row"
    ).with_columns(pl.int_range(pl.len()).alias("start_ns") * 1000)
    return with_all_columns(frame)


SAMPLE = events(
    [
        (0, "kernel", "sgemm_a", 300),
        (0, "kernel", "sgemm_a", 100),
        (0, "kernel", "sgemm_b", 200),
        (0, "memcpy", "[CUDA memcpy HtoD]", 250),
        (0, "kernel", "mystery", 150),
        (1, "kernel", "sgemm_a", 10),
        (-1, "cpu_op", "aten::mm", 5000),
    ]
)


def test_sums_counted_by_hand() -> None:
    first, second = group_times(SAMPLE, RULES)
    assert (first.device, second.device) == (0, 1)
    # 300 + 100 + 200 + 250 + 150 = 1000 ns
    assert first.total_s == pytest.approx(1000e-9)
    names = [(kernel.name, kernel.group, kernel.calls) for kernel in first.kernels]
    assert names == [
        ("sgemm_a", "matrix-mul", 2),
        ("[CUDA memcpy HtoD]", "memory", 1),
        ("sgemm_b", "matrix-mul", 1),
        ("mystery", OTHER, 1),
    ]
    longest = first.kernels[0]
    times = (longest.total_s, longest.mean_s, longest.min_s, longest.max_s)
    assert times == pytest.approx((400e-9, 200e-9, 100e-9, 300e-9))
    assert longest.share == pytest.approx(0.4)
    groups = [(group.name, group.calls, group.examples) for group in first.groups]
    assert groups == [
        ("matrix-mul", 3, ["sgemm_a", "sgemm_b"]),
        ("memory", 1, ["[CUDA memcpy HtoD]"]),
        (OTHER, 1, ["mystery"]),
    ]
    assert [group.share for group in first.groups] == pytest.approx([0.6, 0.25, 0.15])
    assert second.groups[0].share == 1.0


def test_only_the_longest_kernels_are_listed_and_groups_count_all() -> None:
    first, _ = group_times(SAMPLE, RULES, top=1)
    assert [kernel.name for kernel in first.kernels] == ["sgemm_a"]
    assert sum(group.total_s for group in first.groups) == pytest.approx(first.total_s)


def test_other_lists_all_that_matter() -> None:
    rows = [(0, "kernel", f"mystery_{i:02}", 1000 - i) for i in range(12)]
    rows += [(0, "kernel", "tiny", 1), (0, "kernel", "sgemm", 1000)]
    (device,) = group_times(events(rows), RULES)
    other = next(group for group in device.groups if group.name == OTHER)
    assert other.examples == [f"mystery_{i:02}" for i in range(12)]


def test_examples_of_other_are_three_at_least_and_twenty_at_most() -> None:
    few = [(0, "kernel", f"mystery_{i}", 1) for i in range(5)] + [(0, "kernel", "sgemm", 10_000)]
    (device,) = group_times(events(few), RULES)
    other = next(group for group in device.groups if group.name == OTHER)
    assert other.examples == ["mystery_0", "mystery_1", "mystery_2"]
    many = [(0, "kernel", f"mystery_{i:02}", 100 - i) for i in range(30)]
    (device,) = group_times(events(many), RULES)
    assert device.groups[0].examples == [f"mystery_{i:02}" for i in range(20)]
    # A thousandth of the whole, 10 of 10,000, is worth a rule; 9 are not.
    edge = [(0, "kernel", f"mystery_{i}", ns) for i, ns in enumerate((10, 10, 10, 10, 9))]
    (device,) = group_times(events([*edge, (0, "kernel", "sgemm", 9951)]), RULES)
    other = next(group for group in device.groups if group.name == OTHER)
    assert other.examples == ["mystery_0", "mystery_1", "mystery_2", "mystery_3"]
    # Of the other groups three.
    gemms = [(0, "kernel", f"sgemm_{i}", 100 - i) for i in range(5)]
    (device,) = group_times(events(gemms), RULES)
    assert device.groups[0].examples == ["sgemm_0", "sgemm_1", "sgemm_2"]


def test_no_work_no_devices() -> None:
    host = SAMPLE.filter(pl.col("device") < 0)
    assert group_times(host, RULES) == []
    assert kernel_table(host, RULES).is_empty()


def test_zero_durations_have_no_share() -> None:
    (device,) = group_times(events([(0, "kernel", "sgemm", 0)]), RULES)
    assert device.groups[0].share == 0.0


@pytest.mark.parametrize(("workload", "gpus"), PUBLISHED_MS)
@pytest.mark.parametrize("units", [("s", "ms"), ("ms", "us")])
def test_published_groups_to_the_last_digit(
    tmp_path: Path, workload: str, gpus: int, units: tuple[str, str]
) -> None:
    path = write_published_run(tmp_path / "run.csv", workload, gpus, units)
    trace = read_nvprof(path)
    assert trace.doubts == ()
    devices = group_times(trace.events, shipped_rules("coarse_groups"))
    assert [device.device for device in devices] == list(range(gpus))
    for device, row in zip(devices, PUBLISHED_MS[workload, gpus], strict=True):
        found = {group.name: group.total_s * 1e3 for group in device.groups}
        for group, text in zip(GROUPS, row, strict=True):
            digits = len(text.partition(".")[2])
            assert f"{found[group]:.{digits}f}" == text


def test_published_kernels_to_the_last_digit(tmp_path: Path) -> None:
    trace = read_nvprof(write_published_run(tmp_path / "run.csv", "bert", 1))
    table = kernel_table(trace.events, RULES)
    (device,) = group_times(trace.events, RULES, top=10)
    gemms = [kernel for kernel in device.kernels if kernel.name in BERT_TOP10_MS]
    assert {kernel.name: round(kernel.total_s * 1e9) for kernel in gemms} == {
        name: to_ns(text)
        for name, text in BERT_TOP10_MS.items()
        if name in {kernel.name for kernel in gemms}
    }
    sums = dict(table.select(pl.col("name").cast(pl.String), "total_ns").rows())
    assert {name: sums[name] for name in BERT_TOP10_MS} == {
        name: to_ns(text) for name, text in BERT_TOP10_MS.items()
    }


def test_a_sum_that_is_wrong_is_seen(tmp_path: Path) -> None:
    """The comparison above is not blind: one nanosecond more in one row shows."""
    path = write_published_run(tmp_path / "run.csv", "distilgpt2", 1, ("s", "us"), events=1)
    text = path.read_text()
    row = next(line for line in text.splitlines() if "volta_sgemm_32x128_nn" in line)
    fields = row.split(",")
    fields[1] = f"{float(fields[1]) + 0.001:.6f}"
    path.write_text(text.replace(row, ",".join(fields)))
    (device,) = group_times(read_nvprof(path).events, shipped_rules("coarse_groups"))
    found = next(group for group in device.groups if group.name == "matrix-mul")
    assert f"{found.total_s * 1e3:.6f}" == "6293.153053"


def test_communication_of_four_devices(tmp_path: Path) -> None:
    trace = read_nvprof(write_published_run(tmp_path / "run.csv", "bert", 4))
    for device, known in zip(group_times(trace.events, RULES), BERT_NCCL_MS, strict=True):
        communication = next(g for g in device.groups if g.name == "communication")
        assert communication.total_s * 1e9 >= sum(map(to_ns, known.values()))
        assert 0.25 < communication.share < 0.52
    peers = trace.events.filter(pl.col("copy_kind") == "PtoP")
    ends = peers.select("from_device", "to_device").unique().sort("from_device").rows()
    assert ends == [(0, 1), (1, 2), (2, 3), (3, 0)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["kernel", "memcpy", "memset"]),
            st.sampled_from(["sgemm", "ncclAllReduce", "x", "softmax", "Memcpy PtoP"]),
            st.integers(0, 10**12),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_groups_and_kernels_add_up_to_the_whole(rows: list[tuple[int, str, str, int]]) -> None:
    for device in group_times(events(rows), RULES, top=100):
        own = [row for row in rows if row[0] == device.device]
        total_ns = sum(row[3] for row in own)
        assert device.total_s == pytest.approx(total_ns / 1e9)
        for parts in (device.groups, device.kernels):
            assert sum(part.calls for part in parts) == len(own)
            assert sum(round(part.total_s * 1e9) for part in parts) == total_ns
            assert sum(part.share for part in parts) == pytest.approx(1.0 if total_ns else 0.0)
