"""Ceilings: whole, plausible, cached per host, and without a compiler a stated lower bound."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from topout.errors import CompilerError
from topout.machine import ceilings as ceilings_module
from topout.machine.ceilings import (
    Snapshot,
    default_threads,
    doubts_between,
    load_or_measure_ceilings,
    measure_ceilings,
    standing_doubts,
    take_snapshot,
)
from topout.machine.describe import describe
from topout.machine.effort import CeilingParts, Effort, Meter, join_parts
from topout.machine.native_ceilings import BandwidthProbe
from topout.machine.topology import SystemFiles
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
QUIET = Snapshot(at_s=0.0, busy_s=0.0, stolen_s=0.0, own_s=0.0, swapped_pages=5)


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
    monkeypatch.setattr(ceilings_module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(
        ceilings_module, "writable_cache_folder", lambda part: _made(tmp_path / part)
    )
    return tmp_path / "ceilings"


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


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
    assert len(list(empty_cache.iterdir())) == 1


def test_refresh_measures_again_and_quick_never_replaces_full(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    full = load_or_measure_ceilings(machine)
    quick = load_or_measure_ceilings(machine, refresh=True, quick=True)
    assert quick.quick
    assert load_or_measure_ceilings(machine) == full
    again = load_or_measure_ceilings(machine, refresh=True)
    assert again.elapsed_s != full.elapsed_s
    assert load_or_measure_ceilings(machine) == again
    assert calls == [False, True, False]


@pytest.mark.parametrize("damage", ["", "{", '{"host_key": 1}', "cut"])
def test_a_damaged_cache_file_is_measured_again(
    damage: str, machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    load_or_measure_ceilings(machine, quick=True)
    (file,) = empty_cache.iterdir()
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2] if damage == "cut" else damage)
    load_or_measure_ceilings(machine, quick=True)
    assert calls == [True, True]
    assert decode(file.read_bytes(), Ceilings)


def test_another_host_has_other_ceilings(
    machine: Machine, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    load_or_measure_ceilings(machine, quick=True)
    other = msgspec.structs.replace(machine, host_key="0123456789abcdef")
    assert load_or_measure_ceilings(other, quick=True).host_key == other.host_key
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_costs_a_measurement_only(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_calls(monkeypatch)
    monkeypatch.setattr(ceilings_module, "cache_folder", lambda: tmp_path / "none")
    monkeypatch.setattr(
        ceilings_module, "writable_cache_folder", lambda part: tmp_path / "none" / part
    )
    assert load_or_measure_ceilings(machine, quick=True).quick


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The `quick` of every measurement, which is made up."""
    calls: list[bool] = []

    def measure(machine: Machine, threads: None, quick: bool, progress: None) -> Ceilings:
        calls.append(quick)
        return Ceilings(
            host_key=machine.host_key,
            device="cpu",
            measured_at="2026-01-01T00:00:00+00:00",
            elapsed_s=float(len(calls)),
            quick=quick,
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

    def parts(*found: ComputeCeiling) -> CeilingParts:
        return CeilingParts(list(found), [], [], [], [], {})

    steady = parts(compute(1, 1.0, 0.99), compute(2, 2.0, 1.98))
    assert ceilings_module._doubts_of_spread(steady) == []
    assert ceilings_module._doubts_of_cores(steady, two_cores) == []
    (spread,) = ceilings_module._doubts_of_spread(parts(compute(1, 1.0, 0.5, 0.5)))
    assert "50%" in spread.sentence
    (cores,) = ceilings_module._doubts_of_cores(parts(compute(1, 1.0), compute(2, 1.05)), two_cores)
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


def files_of(folder: Path, **texts: str) -> SystemFiles:
    (folder / "proc").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "proc" / name).write_text(text)
    return SystemFiles(folder)


def test_only_the_cpus_asked_for_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    stat = (
        "cpu  9999 0 0 0 0 0 0 0 0 0\n"
        "cpu0 100 20 30 5000 9 1 2 50 7 0\n"
        "cpu1 7000 0 0 0 0 0 0 0 0 0\n"
        "cpu12 1 0 0 0 0 0 0 1 0 0\n"
        "intr 1 2 3\n"
    )
    files = files_of(tmp_path, stat=stat, vmstat="pswpin 3\npswpout 4\nother x\n")
    snapshot = take_snapshot([0, 12], files)
    # user, nice, system, irq and softirq: 100 + 20 + 30 + 1 + 2 and 1 ticks of 10 ms
    assert snapshot.busy_s == pytest.approx(1.54)
    assert snapshot.stolen_s == pytest.approx(0.51)
    assert snapshot.swapped_pages == 7


def test_a_quiet_time_raises_no_doubt() -> None:
    after = QUIET._replace(at_s=10.0, busy_s=18.1, own_s=18.0)
    assert doubts_between(QUIET, after, cpus=2) == []


def test_other_programs() -> None:
    after = QUIET._replace(at_s=10.0, busy_s=20.0, own_s=8.0)
    (doubt,) = doubts_between(QUIET, after, cpus=2)
    assert doubt.about == "load"
    assert "1.2 of 2 CPUs" in doubt.sentence
    assert doubt.remedy


def test_stolen_time_and_swap() -> None:
    after = QUIET._replace(at_s=10.0, stolen_s=1.0, swapped_pages=9)
    steal, swap = doubts_between(QUIET, after, cpus=2)
    assert (steal.about, swap.about) == ("steal", "swap")
    assert "5.0%" in steal.sentence
    assert swap.sentence.startswith("4 pages")


@pytest.mark.parametrize(("load", "doubts"), [(0.5, 0), (2.0, 0), (5.0, 1)])
def test_without_proc_stat_the_load_average_counts(
    load: float, doubts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    before = take_snapshot([0, 1], SystemFiles(tmp_path))
    assert before.busy_s is None
    assert len(doubts_between(before, before._replace(at_s=before.at_s + 1), 2)) == doubts


def test_swap_in_use_and_huge_pages_switched_off(tmp_path: Path) -> None:
    import msgspec

    machine = msgspec.structs.replace(
        describe(), memory_bytes=1 << 30, transparent_huge_pages="never"
    )
    meminfo = "MemTotal: 1048576 kB\nSwapTotal: 1048576 kB\nSwapFree: 524288 kB\n"
    swap, pages = standing_doubts(machine, files_of(tmp_path, meminfo=meminfo))
    assert "512 MiB" in swap.sentence
    assert pages.about == "huge pages"
    calm = msgspec.structs.replace(machine, transparent_huge_pages="madvise")
    none_used = meminfo.replace("524288", "1048576")
    assert standing_doubts(calm, files_of(tmp_path, meminfo=none_used)) == []
    (full,) = standing_doubts(calm, files_of(tmp_path, meminfo=meminfo.replace("524288", "0")))
    assert "1024 MiB" in full.sentence


def test_garbled_texts(tmp_path: Path) -> None:
    files = files_of(tmp_path, stat="cpu0\n\ncpu1 a b\n", vmstat="pswpin\npswpout x\n")
    assert take_snapshot([0, 1], files).busy_s == 0.0
