"""How fast and in how much memory traces are read, against HolisticTraceAnalysis and their goals.

    python benchmarks/trace_reading.py                       # ≥ 50 MB in turns, 1 GB alone
    python benchmarks/trace_reading.py --quick               # without the large trace
    python benchmarks/trace_reading.py --rival PYTHON        # an interpreter that has HTA
    python benchmarks/trace_reading.py --no-rival

Traces are generated: some steps of training, repeated with later times and other ids. Each reading
is a process of its own; rivals take turns, and ratios are taken pair by pair. Where no interpreter
is named, HolisticTraceAnalysis is installed into a temporary environment. Writes
`benchmarks/results/trace-reading-<host key>-<date>.json` with machine and versions, and `.md` for
people.
"""

import argparse
import datetime
import gzip
import importlib.metadata
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).parent.parent
RIVAL_PACKAGE = "HolisticTraceAnalysis"
STEPS_PER_UNIT = 20
LAYERS = 12
SMALL_BYTES, LARGE_BYTES = 60 * 10**6, 10**9
GROWTH_BYTES = (125 * 10**6, 250 * 10**6, 500 * 10**6)
PAIRS = 3
_TIMEOUT_S = 1800.0
# What is other in each repetition: moments, and what joins events.
_SHIFTED = re.compile(r'("ts": |"External id": |"correlation": |"id": )([0-9.]+)')
_UNIT_NS = 10**9
_UNIT_IDS = 1_000_000


class Row(NamedTuple):
    """One figure beside its goal."""

    what: str
    figure: str
    goal: str = ""
    reached: bool | None = None  # None: shown for itself


class Reading(NamedTuple):
    """One reading in a process of its own; times in seconds without the imports."""

    load_s: float
    analysis_s: float
    peak_bytes: int
    events: int
    times_s: dict[str, float]  # of the device: busy, idle, compute, communication, memory

    @property
    def total_s(self) -> float:
        return self.load_s + self.analysis_s


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rival", type=Path, metavar="PYTHON")
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--read", nargs=2, metavar=("WHO", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        who, file = arguments.read
        print(json.dumps({"topout": _read_here, "rival": _read_with_rival}[who](Path(file))))
        return
    with tempfile.TemporaryDirectory(prefix="topout-traces-") as scratch:
        folder = Path(scratch)
        rows = []
        parts = [_against_rival(folder, arguments.rival, arguments.no_rival)]
        if not arguments.quick:
            parts += [_growth(folder), _large(folder)]
        for part in parts:
            for row in part:
                rows.append(row)
                print(f"  {row.what}: {row.figure}", file=sys.stderr)
    print(_table(rows))
    _write(rows)


# --- traces -----------------------------------------------------------------------------------


def generate(path: Path, size_bytes: int) -> Path:
    """A trace of at least so many bytes of text, compressed where the name ends in .gz."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.trace.readers.kineto_files import training_trace

    writer = training_trace(rank=0, world_size=1, steps=STEPS_PER_UNIT, layers=LAYERS)
    document = writer.document()
    events = json.dumps(document.pop("traceEvents"), indent=2)[1:-2]
    head = json.dumps(document)[:-1] + ', "traceEvents": ['
    parts = _SHIFTED.split(events)
    with gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as file:
        written, number = file.write(head), 0
        while written < size_bytes:
            written += file.write("".join(_shifted(parts, number)) + ",\n")
            number += 1
        file.write('{"ph": "M", "name": "end", "ts": 0, "pid": 0, "tid": 0}\n]}\n')
    return path


def _shifted(parts: Sequence[str], number: int) -> Iterator[str]:
    """The text of one repetition; `parts` are text, key, value, text, key, value, …, text."""
    for at in range(0, len(parts) - 1, 3):
        text, key, value = parts[at : at + 3]
        yield text
        yield key
        if key.startswith('"ts"'):
            ns = round(float(value) * 1000) + number * _UNIT_NS
            yield f"{ns // 1000}.{ns % 1000:03}"
        else:
            yield str(int(value) + number * _UNIT_IDS)
    yield parts[-1]


# --- one reading ------------------------------------------------------------------------------


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _read_here(path: Path) -> dict[str, Any]:
    from topout.trace.analysis.breakdown import break_down
    from topout.trace.analysis.groups import load_rules
    from topout.trace.readers.kineto import new_scan
    from topout.trace.readers.read import read_trace

    new_scan().close()  # compiled before, as after a first use
    began = time.perf_counter()
    trace = read_trace(path)
    loaded = time.perf_counter()
    (device,) = break_down(trace, load_rules(None))
    ended = time.perf_counter()
    times = {
        "busy": device.busy_s,
        "idle": device.idle_s,
        "compute": device.compute_s,
        "communication": device.communication_s,
        "memory": device.memory_s,
    }
    return Reading(
        loaded - began, ended - loaded, _peak_bytes(), trace.events.height, times
    )._asdict()


def _read_with_rival(path: Path) -> dict[str, Any]:
    """Run by the rival's interpreter: nothing of ours may be imported."""
    import contextlib
    import io

    from hta.trace_analysis import TraceAnalysis

    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        analysis = TraceAnalysis(
            trace_files={0: str(path)},
            trace_dir=str(path.parent),
            include_last_profiler_step=True,  # else it leaves that out: 0.3 % of the small trace
        )
        loaded = time.perf_counter()
        whole = analysis.get_temporal_breakdown(visualize=False).iloc[0]
        kinds, _ = analysis.get_gpu_kernel_breakdown(visualize=False)
        ended = time.perf_counter()
    sums = {str(row["kernel_type"]): float(row["sum"]) / 1e6 for _, row in kinds.iterrows()}
    times = {
        "busy": (float(whole["kernel_time(us)"]) - float(whole["idle_time(us)"])) / 1e6,
        "idle": float(whole["idle_time(us)"]) / 1e6,
        # Its parts exclude each other, ours do not: the overlapping ones belong to both.
        "compute": sum(value for name, value in sums.items() if "COMPUTATION" in name),
        "communication": sum(value for name, value in sums.items() if "COMMUNICATION" in name),
        "memory": sum(value for name, value in sums.items() if "MEMORY" in name),
    }
    events = len(analysis.t.get_trace(0))
    return Reading(loaded - began, ended - loaded, _peak_bytes(), events, times)._asdict()


def _reading(who: str, interpreter: Path, path: Path) -> Reading:
    command = [str(interpreter), __file__, "--read", who, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise SystemExit(f"{who} could not read {path.name}: {done.stderr.strip()[-500:]}")
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


def _own(path: Path) -> Reading:
    return _reading("topout", Path(sys.executable), path)


# --- figures ----------------------------------------------------------------------------------


def _against_rival(folder: Path, named: Path | None, refused: bool) -> Iterator[Row]:
    path = generate(folder / "small.json", SMALL_BYTES)
    size = path.stat().st_size
    what = f"{size / 1e6:.0f} MB"
    _own(path)  # into the page cache, and the scanner into its own
    interpreter, reason = (None, "--no-rival") if refused else _rival(folder, named)
    if interpreter is None:
        yield from _own_figures(what, size, [_own(path) for _ in range(PAIRS)])
        yield Row(f"{what}: against {RIVAL_PACKAGE}", f"skipped: {reason}")
        return
    pairs = [(_own(path), _reading("rival", interpreter, path)) for _ in range(PAIRS)]
    ours, theirs = [list(each) for each in zip(*pairs, strict=True)]
    yield from _own_figures(what, size, ours)
    yield Row(
        f"{what}: {RIVAL_PACKAGE}, load + breakdown, s",
        f"{_median(each.load_s for each in theirs):.2f} + "
        f"{_median(each.analysis_s for each in theirs):.2f}",
    )
    faster = [rival.total_s / own.total_s for own, rival in pairs]
    yield Row(
        f"{what}: times faster, load + breakdown + groups",
        f"{_median(faster):.1f} ({min(faster):.1f}–{max(faster):.1f})",
        "≥ 20",
        _median(faster) >= 20,
    )
    memory = _median(own.peak_bytes / rival.peak_bytes for own, rival in pairs)
    yield Row(f"{what}: peak memory, share of the rival's", f"{memory:.2f}", "≤ 0.5", memory <= 0.5)
    for name, own_s in ours[0].times_s.items():
        rival_s = theirs[0].times_s[name]
        apart = abs(own_s / rival_s - 1) if rival_s else abs(own_s)
        yield Row(
            f"{what}: {name}, s: here, there",
            f"{own_s:.6f}, {rival_s:.6f}",
            "within 0.1 %",
            apart <= 1e-3,
        )


def _own_figures(what: str, size: int, readings: Sequence[Reading]) -> Iterator[Row]:
    rate = _median(size / each.load_s for each in readings)
    yield Row(f"{what}: loading, MB/s", f"{rate / 1e6:.0f}", "≥ 250", rate >= 250e6)
    yield Row(
        f"{what}: load + breakdown, s",
        f"{_median(each.load_s for each in readings):.2f} + "
        f"{_median(each.analysis_s for each in readings):.2f}",
    )
    yield Row(f"{what}: peak memory, MB", f"{_median(e.peak_bytes for e in readings) / 1e6:.0f}")


def _growth(folder: Path) -> Iterator[Row]:
    """Loading time per byte must not grow with the size."""
    rates = []
    for size_bytes in GROWTH_BYTES:
        path = generate(folder / "growing.json", size_bytes)
        size = path.stat().st_size
        best = min(_own(path).load_s for _ in range(PAIRS))
        rates.append(size / best)
        path.unlink()
    shown = " → ".join(f"{rate / 1e6:.0f}" for rate in rates)
    sizes = ", ".join(f"{size / 1e6:.0f}" for size in GROWTH_BYTES)
    ratio = rates[-1] / rates[0]
    yield Row(f"MB/s at {sizes} MB (linear: the same)", shown, "last ≥ 0.8 × first", ratio >= 0.8)


def _large(folder: Path) -> Iterator[Row]:
    for name in ("large.json", "large.json.gz"):
        path = generate(folder / name, LARGE_BYTES)
        reading = _own(path)
        kind = "gzip" if path.suffix == ".gz" else "plain"
        what = f"1 GB, {kind}, {reading.events / 1e6:.1f} million events"
        total = reading.total_s
        yield Row(f"{what}: load + breakdown, s", f"{total:.2f}", "≤ 8", total <= 8)
        peak = reading.peak_bytes / 2**30
        yield Row(f"{what}: peak memory, GiB", f"{peak:.2f}", "≤ 4", peak <= 4)
        path.unlink()


def _median(values: Any) -> float:
    return float(statistics.median(values))


def _rival(folder: Path, named: Path | None) -> tuple[Path | None, str]:
    """An interpreter that has the rival, or why there is none."""
    if named is not None:
        return named, ""
    place = folder / "rival"
    interpreter = place / "bin" / "python"
    try:
        venv.create(place, with_pip=True)
        command = [str(interpreter), "-m", "pip", "install", "--quiet", RIVAL_PACKAGE]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{RIVAL_PACKAGE} could not be installed ({type(error).__name__})"
    return interpreter, ""


# --- the table --------------------------------------------------------------------------------


def _table(rows: Sequence[Row]) -> str:
    lines = ["| figure | measured | goal | |", "|---|---:|---:|---|"]
    marks = {True: "reached", False: "missed", None: ""}
    lines += [f"| {row.what} | {row.figure} | {row.goal} | {marks[row.reached]} |" for row in rows]
    return "\n".join(lines)


def _write(rows: Sequence[Row]) -> None:
    from topout.machine.describe import describe

    machine = describe()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    packages = ("topout", "polars", "numpy")
    record = {
        "date": date,
        "cpu": machine.cpu_model,
        "cpus": machine.usable_cpus,
        "host_key": machine.host_key,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "figures": [row._asdict() for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"trace-reading-{machine.host_key}-{date}"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    head = f"{record['cpu']}, {record['cpus']} CPUs, {date}\n\n"
    stem.with_suffix(".md").write_text(head + _table(rows) + "\n")


if __name__ == "__main__":
    main()
