"""The examples as they run here: right results, raw samples, and reasons where they cannot run."""

import sys
from contextlib import ExitStack

import numpy as np
import pytest
from msgspec.structs import replace

from topout.cost.examples import example
from topout.errors import CompilerError, InputError, UnsupportedError
from topout.kernels import ops
from topout.machine import examples as examples_module
from topout.machine.describe import describe
from topout.machine.examples import measure_example, stencil_plane
from topout.records import ExampleName, Machine


@pytest.fixture(scope="module")
def machine() -> Machine:
    return describe()


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trials, since no figure is asserted closely."""
    monkeypatch.setattr(examples_module, "_TRIAL_S", 0.002)
    monkeypatch.setattr(examples_module, "_PROBE_S", 0.002)


@pytest.mark.parametrize(("name", "n"), [("axpy", 5000), ("stencil", 20), ("matmul", 96)])
def test_an_example_is_checked_and_timed(machine: Machine, name: ExampleName, n: int) -> None:
    told: list[float] = []
    counted = example(name, n)
    found = measure_example(
        counted, machine, threads=2, quick=True, progress=lambda _, share: told.append(share)
    )
    assert (found.name, found.n, found.threads, found.host_key) == (name, n, 2, machine.host_key)
    assert len(found.samples_s) == len(found.read_bytes_per_s) == len(found.fp32_flops_per_s) == 5
    assert min(found.samples_s) <= found.time_s.median <= max(found.samples_s)
    assert found.flops_per_s.median == pytest.approx(counted.flops / found.time_s.median)
    assert 0 <= found.largest_error < 1e-12
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1


def test_a_wrong_kernel_is_not_timed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.axpy_seconds

    def wrong(team: ops.ThreadTeam, a: float, x: ops.Doubles, y: ops.Doubles, passes: int) -> float:
        return right(team, a * 1.0000001, x, y, passes)

    monkeypatch.setattr(ops, "axpy_seconds", wrong)
    with pytest.raises(UnsupportedError, match="differs from numpy"):
        measure_example(example("axpy", 1000), machine, threads=1, quick=True)


def test_a_kernel_that_writes_no_numbers_is_not_timed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(team: ops.ThreadTeam, grid: ops.Doubles, out: ops.Doubles, passes: int) -> float:
        out[1, 1, 1] = np.nan
        return 1.0

    monkeypatch.setattr(ops, "stencil_seconds", wrong)
    with pytest.raises(UnsupportedError, match="nan"):
        measure_example(example("stencil", 8), machine, threads=1, quick=True)


def test_a_matmul_with_a_wrong_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def wrong(self: torch.Tensor, a: torch.Tensor, b: torch.Tensor, alpha: float) -> None:
        self.add_(a @ b * alpha * 1.001)

    with ExitStack() as stack:
        kernel = examples_module._matmul(32, 1, stack)
        monkeypatch.setattr(torch.Tensor, "addmm_", wrong)
        assert kernel.error() > kernel.tolerance


def test_numpys_stencil_is_the_mean_of_seven() -> None:
    grid = np.arange(27.0).reshape(3, 3, 3)
    # the middle of an arithmetic progression: 13, and its neighbours ±1, ±3, ±9
    assert stencil_plane(grid, 1) == np.array([[13.0]])
    grid[0, 1, 1] += 7.0
    assert stencil_plane(grid, 1) == np.array([[14.0]])


def test_what_does_not_fit_into_memory_is_refused(machine: Machine) -> None:
    small = replace(machine, memory_bytes=1_000_000)
    with pytest.raises(InputError, match=r"n = 100000 needs 1,600,000 bytes.*smaller --n"):
        measure_example(example("axpy", 100_000), small)


def test_without_a_compiler_there_is_a_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise CompilerError("no C++ compiler is installed.", "Install one.")

    monkeypatch.setattr(examples_module, "ThreadTeam", none)
    monkeypatch.setattr(examples_module, "BandwidthProbe", none)
    with pytest.raises(CompilerError, match="no C\\+\\+ compiler"):
        measure_example(example("axpy", 1000), machine, threads=1, quick=True)
    found = measure_example(example("matmul", 32), machine, threads=1, quick=True)
    assert found.read_bytes_per_s == []
    assert any("not measured beside" in doubt.sentence for doubt in found.doubts)


def test_without_pytorch_there_is_a_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match="needs PyTorch"):
        measure_example(example("matmul", 32), machine, threads=1, quick=True)


def test_trials_that_lie_apart_are_doubted() -> None:
    trials = examples_module._Trials([1.0, 1.0, 2.0, 2.0], [1.0, 1.0], [1.0, 1.0])
    (doubt,) = examples_module._doubts("axpy", trials)
    assert doubt.about == "axpy"
    assert examples_module._doubts("axpy", trials._replace(samples_s=[1.0, 1.01])) == []
