"""The examples on machines with round figures, against sums done by hand."""

import pytest
from msgspec.structs import replace

from tests.example_machines import cpu, empty, gpu, run_of
from topout.cost.example_report import example_on, report_example
from topout.cost.examples import example
from topout.errors import UnknownNameError
from topout.records import ExampleReport, decode, encode


def test_axpy_on_a_gpu_is_bound_by_its_memory() -> None:
    found = example_on(example("axpy"), gpu())
    # 2 · 2^24 doubles are 268 MB, beyond 40 MiB of L2
    assert (found.level, found.flops_per_s) == ("HBM", 9.7e12)
    hbm = next(each for each in found.predictions if each.level == "HBM")
    assert hbm.attainable_flops_per_s == pytest.approx(1.5e12 / 12)  # 2 FLOPs per 24 bytes
    assert hbm.time_s == pytest.approx(24 * 2**24 / 1.5e12)
    assert hbm.ridge_point == pytest.approx(9.7 / 1.5)
    assert hbm.region == "memory-bound"


def test_a_small_example_is_served_by_a_cache() -> None:
    assert example_on(example("axpy", 1000), cpu()).level == "L1"
    assert example_on(example("axpy", 100_000), cpu()).level == "L3"


def test_the_matmul_takes_matrix_units_and_lists_its_crossovers() -> None:
    found = example_on(example("matmul", 2048), gpu())
    assert found.flops_per_s == 19.5e12
    assert all(each.region == "compute-bound" for each in found.predictions)
    crossovers = {each.dtype: each for each in found.crossovers}
    assert crossovers["fp16"].n_of_doubles == 3328  # 16 · 312/1.5
    assert crossovers["fp16"].n_of_dtype == 832  # in 16 bits n/4: 4 · 208
    assert crossovers["fp64"].n_of_doubles == crossovers["fp64"].n_of_dtype == 208
    assert example_on(example("axpy"), gpu()).crossovers == []


def test_every_level_and_traffic_is_predicted() -> None:
    found = example_on(example("stencil"), cpu())
    assert len(found.predictions) == 4 * 3
    assert found.flops_basis == "derived"
    assert "half" in found.flops_note


def test_a_machine_with_missing_figures_says_what_is_missing() -> None:
    report = report_example("axpy", None, [empty(), replace(gpu(), compute=[])])
    bare, no_peaks = report.machines
    assert set(bare.reasons) == {"flops_per_s", "predictions"}
    assert set(no_peaks.reasons) == {"flops_per_s"}
    assert bare.predictions == no_peaks.predictions == []
    assert any("bare: its file states no fp64 rate" in each for each in report.findings)


def test_a_measured_run_is_placed_under_the_roofs_it_ran_under() -> None:
    counted = example("stencil")
    # 7 FLOPs a point at 14 GFLOP/s: 2 G points/s; 20 GB/s from memory
    report = report_example("stencil", None, [gpu(), cpu()], run_of(counted, 7e9))
    placed = {each.traffic: each for each in report.placements}
    assert placed["perfect cache"].bytes_per_s == pytest.approx(16e9)  # 1 G points/s · 16 bytes
    assert placed["perfect cache"].attained_share == pytest.approx(0.8)
    assert placed["perfect cache"].region == "memory-bound"
    assert placed["stores read first"].bytes_per_s == pytest.approx(24e9)
    assert placed["stores read first"].read_bytes_per_s == pytest.approx(16e9)
    assert placed["stores read first"].region == "above the bandwidth roof"
    assert placed["no cache"].read_bytes_per_s == pytest.approx(56e9)
    assert report.reasons == {}
    words = " ".join(report.findings)
    assert "only 16.0 GB/s was read" in words  # under the roof of reading: no proof of a cache
    assert "cannot read 56.0 GB/s, so caches served" in words


def test_the_roofs_of_the_moment_go_before_those_on_file() -> None:
    run = run_of(example("axpy"), 0.75e9, read_bytes_per_s=[9e9, 10e9, 11e9])
    report = report_example("axpy", None, [cpu()], run)
    (placed,) = report.placements
    assert placed.ceiling_bytes_per_s == 10e9  # on file: 20 GB/s
    assert placed.attained_share == pytest.approx(0.9)  # 0.75 GFLOP/s · 12 = 9 GB/s
    assert any("lower during the run" in each for each in report.findings)
    arithmetic = replace(run, fp32_flops_per_s=[40e9, 50e9, 60e9])
    (placed,) = report_example("axpy", None, [cpu()], arithmetic).placements
    assert placed.ceiling_flops_per_s == 25e9  # half of the fp32 rate beside it


def test_a_run_of_another_machine_is_not_placed() -> None:
    run = replace(run_of(example("axpy"), 1e9), host_key="another")
    report = report_example("axpy", None, [cpu()], run)
    assert report.placements == []
    assert "placements" in report.reasons


def test_what_was_not_measured_has_a_reason() -> None:
    report = report_example("axpy", 10, [cpu()], reason="no compiler was found")
    assert report.reasons == {"measured": "no compiler was found"}


def test_the_report_survives_its_json() -> None:
    report = report_example(
        "matmul", 64, [gpu(), cpu(), empty()], run_of(example("matmul", 64), 1e9)
    )
    assert decode(encode(report), ExampleReport) == report


def test_an_unknown_example_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="stencil"):
        report_example("stencl", None, [])
