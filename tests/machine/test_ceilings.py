"""Ceilings: whole, plausible, cached per host, and without a compiler a stated lower bound."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from tests.known_machine import known_ceilings
from topout.errors import CompilerError
from topout.machine import ceilings as ceilings_module
from topout.machine import kept
from topout.machine.ceilings import (
    cached_ceilings,
    default_threads,
    keep_ceilings,
    kept_ceilings,
    load_or_measure_ceilings,
    measure_ceilings,
)
from topout.machine.describe import describe
from topout.machine.effort import CeilingParts, Effort, Meter, join_parts
from topout.machine.native_ceilings import BandwidthProbe
from topout.records import Cache, Ceilings, ComputeCeiling, Doubt, Machine, decode, encode

BRIEF = Effort(
    warmup_s=0.01,
    compute_s=0.004,
    compute_rounds=2,
    screen_s=0.001,
    read_s=0.002,
    read_rounds=2,
    curve_points=6,
    overhead_rounds=2,
)


@pytest.fixture(scope="module")
def machine() -> Machine:
    """This machine as if its caches and memory were small, so that buffers are filled quickly."""
    caches = [
        Cache(name="L1d", size_bytes=32 << 10),
        Cache(name="L2", size_bytes=512 << 10),
        Cache(name="L3", size_bytes=4 << 20, instances=1),
    ]
    return msgspec.structs.replace(describe(), caches=caches, memory_bytes=512 << 20)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of a fraction of a second, since no figure is asserted closely."""
    monkeypatch.setattr(ceilings_module, "QUICK", BRIEF)
    monkeypatch.setattr(ceilings_module, "FULL", BRIEF._replace(curve_points=8))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "load_doubts", list)  # the machine is quiet
    return tmp_path / "ceilings"


@pytest.mark.parametrize(
    ("cpus", "threads"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_thread_counts(cpus: int, threads: list[int]) -> None:
    assert default_threads(cpus) == threads


def test_all_parts_are_there_and_plausible(machine: Machine) -> None:
    told: list[tuple[str, float]] = []
    found = measure_ceilings(
        machine, threads=[1, 2], quick=True, progress=lambda what, share: told.append((what, share))
    )
    assert decode(encode(found), Ceilings) == found
    assert (found.host_key, found.device, found.quick) == (machine.host_key, "cpu", True)
    assert {each.threads for each in found.compute} == {1, 2}
    for each in found.compute:
        assert each.flops_per_s == max(each.samples) > 0
        assert len(each.samples) == BRIEF.compute_rounds
    for dtype in ("bf16", "int8"):
        assert any(each.dtype == dtype for each in found.compute) or f"compute.{dtype}" in (
            found.reasons
        )
    assert found.clock_hz is not None
    assert 0 < found.clock_hz < 8e9
    for bandwidth in found.bandwidth:
        assert bandwidth.bytes_per_s == max(bandwidth.samples) > 0
    for threads in (1, 2):
        levels = {each.level for each in found.bandwidth if each.threads == threads}
        assert {"L1", "DRAM"} <= levels
    names = {each.name for each in found.overheads}
    assert {"kernel_call", "thread_barrier", "thread_fork_join", "torch_op"} <= names
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_a_curve_of_sizes_is_measured_for_one_thread_and_for_all(machine: Machine) -> None:
    found = measure_ceilings(machine, threads=[1, 2, 3])
    sizes = {
        threads: {each.working_set_bytes for each in found.bandwidth if each.threads == threads}
        for threads in (1, 2, 3)
    }
    assert len(sizes[1]) > len(sizes[2])
    assert len(sizes[3]) > len(sizes[2])
    assert len({each.page for each in found.bandwidth}) <= 2


def test_ceilings_are_measured_once(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    quick = load_or_measure_ceilings(machine, quick=True)
    assert load_or_measure_ceilings(machine, quick=True) == quick
    assert calls == [True]
    full = load_or_measure_ceilings(machine)
    assert not full.quick
    assert load_or_measure_ceilings(machine, quick=True) == full
    assert calls == [True, False]
    assert kept_ceilings(machine) == [full, quick]


def test_refresh_adds_a_measurement_and_quick_never_replaces_full(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    full = load_or_measure_ceilings(machine)
    assert load_or_measure_ceilings(machine, refresh=True, quick=True) == full
    again = load_or_measure_ceilings(machine, refresh=True)
    assert again.elapsed_s == 3.0
    assert load_or_measure_ceilings(machine) == again
    assert calls == [False, True, False]
    assert len(kept_ceilings(machine)) == 3


def test_a_busy_machine_never_replaces_a_better_figure(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, [LOAD], [], [LOAD])
    disturbed = load_or_measure_ceilings(machine)
    assert disturbed.doubts == [LOAD]
    monkeypatch.setattr(kept, "load_doubts", lambda: [LOAD])
    assert load_or_measure_ceilings(machine) == disturbed  # still busy: nothing is measured twice
    assert len(calls) == 1
    monkeypatch.setattr(kept, "load_doubts", list)
    calm = load_or_measure_ceilings(machine)
    assert calm.doubts == []
    assert load_or_measure_ceilings(machine) == calm
    assert load_or_measure_ceilings(machine, refresh=True) == calm
    assert len(calls) == 3


def test_a_machine_that_is_never_quiet_is_measured_three_times(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, *[[LOAD]] * 9)
    for _ in range(6):
        load_or_measure_ceilings(machine)
    assert len(calls) == 3


def test_the_file_of_an_earlier_version_is_read(machine: Machine, empty_cache: Path) -> None:
    """It had the name of the host and the method alone."""
    ceilings = known_ceilings(machine)
    keep_ceilings(ceilings, machine)
    (file,) = empty_cache.iterdir()
    stem, _, _ = file.stem.rpartition("-20260102030405")
    file.rename(empty_cache / f"{stem}.json")
    assert kept_ceilings(machine) == [ceilings]
    assert load_or_measure_ceilings(machine) == ceilings


def test_contradictions_of_a_file_are_doubted(machine: Machine, empty_cache: Path) -> None:
    known = known_ceilings(machine)
    slower = [
        msgspec.structs.replace(each, flops_per_s=5e10 if each.threads > 1 else each.flops_per_s)
        for each in known.compute
    ]
    if len({each.threads for each in slower}) < 2:
        pytest.skip("this machine has one CPU")
    keep_ceilings(msgspec.structs.replace(known, compute=slower), machine)
    ceilings = cached_ceilings(machine)
    assert ceilings is not None
    assert [each.about for each in ceilings.doubts] == ["contradiction"]
    keep_ceilings(ceilings, machine)  # with its doubt, which is not told twice
    assert [len(each.doubts) for each in kept_ceilings(machine)] == [1, 1]


@pytest.mark.parametrize("damage", ["", "{", '{"host_key": 1}', "cut", "0", "-1.5", "9e17"])
def test_a_file_that_is_damaged_or_cannot_be_is_measured_again(
    damage: str, machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = msgspec.structs.replace(known_ceilings(machine), clock_hz=3e9)
    keep_ceilings(known, machine)
    (file,) = empty_cache.iterdir()
    whole = file.read_text()
    damaged = whole[: len(whole) // 2] if damage == "cut" else damage
    if damage in ("0", "-1.5", "9e17"):
        damaged = whole.replace('"flops_per_s": 100000000000.0', f'"flops_per_s": {damage}')
        assert damaged != whole
    file.write_text(damaged)
    calls = count_calls(monkeypatch)
    fresh = load_or_measure_ceilings(machine, quick=True)
    assert calls == [True]
    assert kept_ceilings(machine) == [fresh]
    assert not file.exists()


def test_another_host_has_other_ceilings(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    load_or_measure_ceilings(machine, quick=True)
    other = msgspec.structs.replace(machine, host_key="0123456789abcdef")
    assert load_or_measure_ceilings(other, quick=True).host_key == other.host_key
    assert len(calls) == 2
    (of_other,) = empty_cache.glob("0123456789abcdef*")
    (own,) = empty_cache.glob(f"{machine.host_key}*")
    of_other.replace(own)
    assert kept_ceilings(machine) == []


def test_where_the_cache_cannot_be_written_a_measurement_is_kept_for_the_process(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert load_or_measure_ceilings(machine, quick=True).quick
    assert len(calls) == 1


LOAD = Doubt(about="load", sentence="Others kept 1.2 of 2 CPUs busy.", remedy="Stop them.")


def count_calls(monkeypatch: pytest.MonkeyPatch, *doubts: list[Doubt]) -> list[bool]:
    """The `quick` of every measurement, which is made up; `doubts` are those of each in turn."""
    calls: list[bool] = []

    def measure(machine: Machine, threads: None, quick: bool, progress: None) -> Ceilings:
        calls.append(quick)
        return msgspec.structs.replace(
            known_ceilings(machine),
            measured_at=f"2026-02-01T00:00:{len(calls):02}+00:00",
            elapsed_s=float(len(calls)),
            quick=quick,
            doubts=doubts[len(calls) - 1] if doubts else [],
        )

    monkeypatch.setattr(ceilings_module, "measure_ceilings", measure)
    return calls


def test_without_a_compiler_pytorch_gives_a_stated_lower_bound(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> CeilingParts:
        raise CompilerError("no C++ compiler is installed.", "Install one: `apt install g++`.")

    monkeypatch.setattr(ceilings_module, "measure_native", refuse)
    monkeypatch.setattr("topout.machine.torch_ceilings._MATMUL_SIZE", 64)
    found = measure_ceilings(machine, threads=[1], quick=True)
    assert {each.instruction for each in found.compute} == {"torch matmul"}
    assert {each.level for each in found.bandwidth} >= {"DRAM"}
    doubt = next(each for each in found.doubts if each.about == "ceilings")
    assert "lower bound" in doubt.sentence
    assert "apt install g++" in doubt.remedy
    assert "clock_hz" in found.reasons


def test_matrix_units_are_measured_by_pytorch(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topout.machine.torch_ceilings._MATMUL_SIZE", 64)
    with_amx = msgspec.structs.replace(machine, vector_isa=[*machine.vector_isa, "amx_tile"])
    found = measure_ceilings(with_amx, threads=[1], quick=True)
    assert ("bf16", "torch matmul") in {(each.dtype, each.instruction) for each in found.compute}


def test_without_pytorch_what_it_reaches_is_absent_with_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrix units and operators; where no compiler is either, nothing can be measured."""
    for module in ("ceilings", "torch_ceilings"):
        monkeypatch.setattr(f"topout.machine.{module}.is_installed", lambda package: False)
    measured = CeilingParts([], [], [], [], [], {"compute.int8": "no such instruction"})
    monkeypatch.setattr(ceilings_module, "measure_native", lambda *_: measured)
    with_amx = msgspec.structs.replace(machine, vector_isa=[*machine.vector_isa, "amx_tile"])
    found = measure_ceilings(with_amx, threads=[1], quick=True)
    assert found.compute == [] and found.overheads == []
    assert found.reasons["overheads.torch_op"] == "PyTorch is not installed"
    assert found.reasons["compute.matrix_units"].startswith("PyTorch is not installed")
    assert found.reasons["compute.int8"] == "no such instruction"

    def refuse(*_: object) -> NoReturn:
        raise CompilerError("no compiler.", "Install one.")

    monkeypatch.setattr(ceilings_module, "measure_native", refuse)
    with pytest.raises(CompilerError, match="Install one"):
        measure_ceilings(machine, threads=[1], quick=True)


def test_wide_spread_and_shared_cores_are_doubted(machine: Machine) -> None:
    two_cores = msgspec.structs.replace(machine, physical_cores=2)

    def compute(threads: int, *samples: float) -> ComputeCeiling:
        return ComputeCeiling(
            dtype="fp32",
            threads=threads,
            instruction="fma",
            flops_per_s=max(samples),
            samples=list(samples),
        )

    def ceilings(*found: ComputeCeiling) -> Ceilings:
        return msgspec.structs.replace(known_ceilings(machine), compute=list(found))

    steady = ceilings(compute(1, 1.0, 0.99), compute(2, 2.0, 1.98))
    assert ceilings_module._doubts_of_spread(steady) == []
    assert ceilings_module._doubts_of_cores(steady, two_cores) == []
    (spread,) = ceilings_module._doubts_of_spread(ceilings(compute(1, 1.0, 0.5, 0.5)))
    assert "50%" in spread.sentence
    shared = ceilings(compute(1, 1.0), compute(2, 1.05))
    (cores,) = ceilings_module._doubts_of_cores(shared, two_cores)
    assert cores.about == "cores"


def test_joined_parts_keep_each_doubt_once() -> None:
    doubt = Doubt(about="a", sentence="b", remedy="c")
    one = CeilingParts([], [], [], [1.0], [doubt], {"x": "y"})
    joined = join_parts([one, one])
    assert (joined.doubts, joined.clocks_hz, joined.reasons) == ([doubt], [1.0, 1.0], {"x": "y"})


def test_the_meter_never_exceeds_the_whole() -> None:
    shares: list[float] = []
    meter = Meter(2, lambda what, share: shares.append(share))
    for _ in range(4):
        meter.step("a")
    assert shares == [0.0, 0.5, 1.0, 1.0]
    Meter(0, None).step("silent")


def test_a_probe_is_reused() -> None:
    with BandwidthProbe(1, 8 << 20) as probe:
        rates = [probe.read_bandwidth(0.002) for _ in range(3)]
        rates.append(probe.fma_rate("fp32", 0.002))
        assert all(rate > 0 for rate in rates)
    with BandwidthProbe(2, 1 << 20) as probe:
        assert probe.read_bandwidth(0.002) > 0


def test_an_interrupt_ends_the_measurement(fresh_cache: Path) -> None:
    code = (
        "from topout.machine.describe import describe\n"
        "from topout.machine.ceilings import measure_ceilings\n"
        "measure_ceilings(describe(), progress=lambda what, share: print(what, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert "KeyboardInterrupt" in errors
    assert not (fresh_cache / "ceilings").exists()
