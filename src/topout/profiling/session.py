"""A worker asked for runs with the profiler and without, in turns."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from topout.generation.session_process import worker_environment
from topout.measure.worker import Worker
from topout.profiling.phases import Timed
from topout.profiling.runs import CapturedRun, PlainRun
from topout.progress import Notify
from topout.records import Count, ElapsedTime

WORKER_MODULE = "topout.profiling.worker"
TIMEOUT_S = 900.0  # of one answer


class ProfiledModel:
    """A model in a worker process; use it in a `with` block. All methods raise WorkerFailure."""

    def __init__(self, log: Path, threads: int) -> None:
        self._worker = Worker(WORKER_MODULE, log, environment=worker_environment(threads))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()

    def prepare(self, preparation: msgspec.Struct) -> tuple[int, int]:
        """Load and warm up; returns the bytes of the weights, and of the process at its peak."""
        reply = self._worker.call("prepare", TIMEOUT_S, **msgspec.to_builtins(preparation))
        return int(reply["weight_bytes"]), int(reply["peak_rss_bytes"])

    def plain(self) -> PlainRun:
        """A timed run without the profiler."""
        return msgspec.convert(self._worker.call("plain", TIMEOUT_S), PlainRun)

    def captured(self, path: Path) -> CapturedRun:
        """A run under the profiler, its trace in `path`."""
        reply = self._worker.call("captured", TIMEOUT_S, path=str(path.absolute()))
        return msgspec.convert(reply, CapturedRun)

    def counted(self) -> Count:
        """What the operators of a run have to do."""
        return msgspec.convert(self._worker.call("counted", TIMEOUT_S), Count)


def run_in_turns(
    plain: Callable[[], PlainRun],
    captured: Callable[[], CapturedRun],
    repeats: int,
    notify: Notify,
) -> tuple[CapturedRun, Timed]:
    """So many pairs of runs, A B, B A, …; returns the last captured run and all times."""
    pairs: list[tuple[PlainRun, CapturedRun]] = []
    for number in range(repeats):
        notify(f"pair {number + 1} of {repeats}", number / repeats)
        if number % 2 == 0:
            without = plain()
            under = captured()
        else:
            under = captured()
            without = plain()
        pairs.append((without, under))
    return pairs[-1][1], _timed(pairs)


def _timed(pairs: list[tuple[PlainRun, CapturedRun]]) -> Timed:
    """Times by phase; the processor's from the plain run of median length."""
    names = list(pairs[0][0].wall_s)
    elapsed: dict[str, ElapsedTime] = {}
    for name in names:
        ordered = sorted((plain for plain, _ in pairs), key=lambda run: run.wall_s.get(name, 0.0))
        found = ordered[(len(ordered) - 1) // 2].elapsed.get(name)
        if found is not None:
            elapsed[name] = found
    return Timed(
        plain_s={name: [plain.wall_s[name] for plain, _ in pairs] for name in names},
        profiled_s={name: [under.wall_s[name] for _, under in pairs] for name in names},
        elapsed=elapsed,
    )
