"""The worked example on the terminal."""

import pytest
from rich.console import Console

from tests.example_machines import cpu, empty, gpu, run_of
from topout.cost.example_report import report_example
from topout.cost.examples import example
from topout.records import ExampleName, ExampleReport
from topout.report import describe
from topout.report.to_terminal import to_terminal


def shown(report: ExampleReport) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(to_terminal(describe(report)))
    return capture.get()


def full(name: ExampleName) -> ExampleReport:
    run = run_of(example(name), 7e9, read_bytes_per_s=[19e9, 20e9, 21e9])
    return report_example(name, None, [gpu(), cpu()], run)


@pytest.mark.parametrize("name", ["axpy", "stencil", "matmul"])
def test_every_example_fits_80_columns(name: ExampleName) -> None:
    assert all(len(line) <= 80 for line in shown(full(name)).splitlines())


def test_the_sum_is_spelled_out() -> None:
    text = " ".join(shown(full("stencil")).split())
    assert "6 additions + 1 multiplication = 7 FLOPs a point" in text
    assert "no cache 64.0 0.109 7 loads + 1 store" in text
    assert "perfect cache 16.0 0.438 1 load + 1 store" in text
    assert "write-allocate" in text


def test_each_machine_has_its_levels_and_the_one_that_serves_is_marked() -> None:
    text = shown(full("axpy"))
    assert "HBM ◂" in text
    assert "DRAM ◂" in text
    assert "half of fp32" in text
    assert "125 GFLOP/s" in text  # 1.5 TB/s / 12
    assert "1.67 GFLOP/s" in text  # 20 GB/s / 12


def test_the_matmul_lists_its_crossovers() -> None:
    text = shown(full("matmul"))
    assert "past which an n×n matmul is compute-bound" in text
    assert "3328" in text


def test_the_measured_run_is_there_or_the_reason() -> None:
    assert "Read bandwidth in between" in shown(full("axpy"))
    bare = shown(report_example("axpy", None, [empty()], reason="no compiler"))
    assert "measured: no compiler." in bare
    assert "its file states no fp64 rate" in bare
    assert "None" not in bare
