"""The figures that `topout climb` is held to, measured here and printed beside their goals.

    python benchmarks/climb_figures.py                  # climbs each model twice (about 20 minutes)
    python benchmarks/climb_figures.py --only bundled   # one of: bundled, gpt2
    python benchmarks/climb_figures.py --runs A B       # from run folders that are there already

All are ratios within one run, or the time and memory of one. Writes
`benchmarks/results/figures-<model>-<host key>-<date>.json` with machine and versions, `.md` for
people, and the record of the last climb of each model.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from topout import Climb, ClimbRequest, climb, read, write
from topout.run_folder import RUN_FILE

RESULTS = Path(__file__).parent / "results"
MODELS = {
    "bundled": ClimbRequest(model="pycode-7m"),
    "gpt2": ClimbRequest(model="gpt2", random_weights=True),
}
CLIMBS_PER_MODEL = 2
_WHOLE: dict[int, tuple[float, int]] = {}  # id of a record → seconds and peak bytes of its climb


def main() -> None:
    """Climb, or read climbs; print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--runs", nargs="+", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.runs:
        climbs = [read(folder / RUN_FILE, Climb) for folder in arguments.runs]
    else:
        names = [arguments.only] if arguments.only else list(MODELS)
        climbs = []
        for name in names:
            for _ in range(CLIMBS_PER_MODEL):
                climbs.append(_climb(MODELS[name]))
                _report(climbs)  # what is finished is on disk before the next begins
    _report(climbs)
    print(_table([row for runs in _by_model(climbs).values() for row in figures(runs)]))


def _by_model(climbs: list[Climb]) -> dict[str, list[Climb]]:
    by_model: dict[str, list[Climb]] = {}
    for each in climbs:
        by_model.setdefault(each.model.name, []).append(each)
    return by_model


def _climb(request: ClimbRequest) -> Climb:
    with tempfile.TemporaryDirectory() as home, MemoryWatch() as memory:
        os.environ["TOPOUT_HOME"] = home
        print(f"climbing {request.model} …", file=sys.stderr)
        began = time.monotonic()
        record, _ = climb(request, notify=lambda text, done: print(f"  {text}", file=sys.stderr))
        _WHOLE[id(record)] = (time.monotonic() - began, memory.peak_bytes)
    return record


class MemoryWatch:
    """The peak resident memory of this process and all its children together, four times a second.

    Pages that processes share are counted in each: an upper bound.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.25):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, total)


def figures(runs: list[Climb]) -> list[dict[str, Any]]:
    """One row per figure of one model's climbs: what, figure, goal, and whether it is reached."""
    name = runs[0].model.name
    rows = [row for number, run in enumerate(runs, 1) for row in _of_one(f"{name} #{number}", run)]
    if len(runs) > 1:
        rows.append(_agreement(name, runs))
    return rows


def _of_one(label: str, run: Climb) -> list[dict[str, Any]]:
    exact = run.exact_duel if run.exact_duel is not None else run.duel
    is_bundled = run.model.weights == "trained"
    rows = []
    if exact is not None:
        goal = 3.0 if is_bundled else None
        rows.append(_duel_row(f"{label}: decode, best exact ({exact.champion})", exact, goal))
    if run.duel is not None:
        goal = None if is_bundled else 1.5
        rows.append(_duel_row(f"{label}: decode, best ({run.duel.champion})", run.duel, goal))
    if id(run) in _WHOLE:
        elapsed_s, peak_bytes = _WHOLE[id(run)]
        limit_s = 180 if is_bundled else 360
        rows.append(_row(f"{label}: the whole command, seconds", elapsed_s, limit_s, False))
        rows.append(_row(f"{label}: all its processes, GiB", peak_bytes / 2**30, 6.0, False))
    errors = prediction_errors(run)
    for what, values in errors.items():
        rows.append(
            _row(f"{label}: prediction error, {what}", statistics.median(values), 0.25, False)
        )
    return rows


def prediction_errors(run: Climb) -> dict[str, list[float]]:
    """|predicted / measured − 1| over the kept rungs, of the workload and of its phases."""
    errors: dict[str, list[float]] = {"workload": [], "prefill": [], "decode": []}
    for rung in run.rungs:
        if rung.status != "kept" or rung.prediction is None or not rung.samples:
            continue
        measured = statistics.median(sample.total_s for sample in rung.samples)
        errors["workload"].append(abs(rung.prediction.total_s / measured - 1))
        for what, phase in (("prefill", rung.prefill), ("decode", rung.decode)):
            if phase is not None and phase.predicted_time_s is not None:
                errors[what].append(abs(phase.predicted_time_s / phase.time_s.median - 1))
    return errors


def _agreement(name: str, runs: list[Climb]) -> dict[str, Any]:
    verdicts = [{rung.name: rung.status for rung in run.rungs} for run in runs]
    same = sum(len({each.get(rung) for each in verdicts}) == 1 for rung in verdicts[0])
    return _row(f"{name}: rungs with the same verdict", same, len(verdicts[0]), True)


def _duel_row(what: str, duel: Any, goal: float | None) -> dict[str, Any]:
    ratio = duel.decode_speedup
    row = _row(what, ratio.median, goal, True)
    return {**row, "low": ratio.low, "high": ratio.high}


def _row(what: str, figure: float, goal: float | None, more_is_better: bool) -> dict[str, Any]:
    reached = None
    if goal is not None:
        reached = figure >= goal if more_is_better else figure <= goal
    return {"what": what, "figure": figure, "goal": goal, "reached": reached}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| figure | measured | goal | reached |", "|---|---|---|---|"]
    for row in rows:
        interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
        goal = "–" if row["goal"] is None else f"{row['goal']:g}"
        reached = {None: "–", True: "yes", False: "no"}[row["reached"]]
        lines.append(f"| {row['what']} | {row['figure']:.3g}{interval} | {goal} | {reached} |")
    return "\n".join(lines)


def _report(climbs: list[Climb]) -> None:
    """Write the figures of all climbs so far, a file per model."""
    RESULTS.mkdir(exist_ok=True)
    for name, runs in _by_model(climbs).items():
        _write(name, figures(runs), runs)


def _write(name: str, rows: list[dict[str, Any]], climbs: list[Climb]) -> None:
    machine = climbs[0].machine
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    title = (
        f"# Figures of `topout climb`\n\n{machine.cpu_model}, {machine.usable_cpus} CPUs, {date}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    table = _table(rows)
    write(climbs[-1], RESULTS / f"climb-{name}-{machine.host_key}-{date}.json")
    stem = RESULTS / f"figures-{name}-{machine.host_key}-{date}"
    stem.with_suffix(".md").write_text(f"{title}\n\n{table}\n")
    record = {
        "date": date,
        "cpu_model": machine.cpu_model,
        "cpus": machine.usable_cpus,
        "versions": versions,
        "figures": rows,
        "verdicts": [
            {rung.name: [rung.status, rung.reason] for rung in each.rungs} for each in climbs
        ],
    }
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
