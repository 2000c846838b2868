"""The worker as its parent sees it: asked for checks, and what it did when it died. No torch.

A worker notes each product before it calls it, and a signal handler where it struck.
"""

import ctypes
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from topout.errors import CompilerError, UnsupportedError
from topout.gemm.case import Case
from topout.gemm.results import Outcome
from topout.gemm.rivals import rival_environment
from topout.kernels.build import load_library
from topout.kernels.gemm_ops import GemmBuild
from topout.measure.counters import EventCounts
from topout.measure.process import Closing, signal_name
from topout.measure.worker import Worker, WorkerFailure
from topout.units import counted

WORKER_MODULE = "topout.gemm.worker"
_START_TIMEOUT_S = 120.0  # a compiler may run, on a busy machine
_COUNTING_TIMEOUT_S = 60.0
_NEAR_BYTES = 1 << 16  # of a matrix: an address further off says nothing of it
_ACTIONS = {"w": "wrote", "r": "read"}


def worker_environment(threads: int) -> dict[str, str]:
    """What a worker finds in its environment; settings of OpenMP such as OMP_PLACES stay."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        **rival_environment(),
    }


class ProductWorker(Closing):
    """A worker process that is started when it is needed, and again after it died.

    Raises WorkerFailure whose message says what the product did. Use it in a `with` block.
    """

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        self._log = folder / f"{name}.log"
        self._files = NoteFiles(folder / f"{name}.situation", folder / f"{name}.fault")
        self._threads = threads
        self._worker: Worker | None = None

    @property
    def alive(self) -> bool:
        """Whether a process runs now, with all that it was told."""
        return self._worker is not None and self._worker.alive

    def call(self, method: str, timeout_s: float, **params: Any) -> Any:
        """Ask the worker; raises WorkerFailure."""
        worker = self._running()
        try:
            return worker.call(method, timeout_s, **params)
        except WorkerFailure as failure:
            if failure.kind in ("crash", "hang", "memory") and not worker.alive:
                self.close()
            raise WorkerFailure(failure.kind, self._reason(failure, timeout_s)) from None

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _running(self) -> Worker:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self.close()
        self._files.clear()
        self._log.write_bytes(b"")
        environment = worker_environment(self._threads)
        self._worker = Worker(WORKER_MODULE, self._log, environment=environment)
        self._worker.call(
            "watch",
            _START_TIMEOUT_S,
            situation=str(self._files.situation),
            fault=str(self._files.fault),
        )
        return self._worker

    def _reason(self, failure: WorkerFailure, timeout_s: float) -> str:
        where = self._files.where()
        if failure.kind == "hang":
            at = f", at {where}" if where else ""
            return f"did not end within {timeout_s:.3g} s and was ended{at}"
        if failure.kind in ("crash", "memory"):
            known = self._files.describe() or (f"it was at {where}" if where else None)
            return f"{failure.message}; {known}" if known else failure.message
        return failure.message


def count_product(
    library: Path, case: Case, *, timeout_s: float = _COUNTING_TIMEOUT_S
) -> EventCounts:
    """The hardware events of one product by a compiled library, of all its threads, in user code.

    In a process of its own, so that a library that ends its process ends no other, and so that its
    threads are the only ones there. Raises UnsupportedError when the process fails or does not end
    in time; a machine without events is a reason among those that are returned.
    """
    environment = worker_environment(case.threads)
    build = GemmBuild(library, case.dtype, True)
    with (
        TemporaryDirectory(prefix="topout-counting-") as folder,
        Worker(WORKER_MODULE, Path(folder) / "log", environment=environment) as worker,
    ):
        try:
            reply = worker.call("count_events", timeout_s, build=build, case=case)
        except WorkerFailure as failure:
            if failure.kind == "input":
                return EventCounts({}, {"events": failure.message})
            raise UnsupportedError(
                f"the process that counts events did not get through: it {failure.message}.",
                "Compare the version first: it may be at fault.",
            ) from None
    return EventCounts(*reply)


class Situation(msgspec.Struct, frozen=True):
    """The product that a worker was at: its name, and where its matrices begin and end."""

    where: str
    regions: dict[str, tuple[int, int]]


class NoteFiles(NamedTuple):
    """Where a worker notes what it is at, and where a signal handler writes how it ended."""

    situation: Path
    fault: Path

    def clear(self) -> None:
        """Forget what an earlier worker noted."""
        for file in self:
            file.write_bytes(b"")

    def where(self) -> str | None:
        """Which product was the last; None when there was none."""
        situation = self._situation()
        return situation.where if situation else None

    def describe(self) -> str | None:
        """What the worker touched last, in words; None when nothing is known of it."""
        situation = self._situation()
        try:
            fields = self.fault.read_text(errors="replace").split("\n")[0].split()
        except OSError:
            return None
        if len(fields) != 3 or not (fields[0] + fields[1]).isdecimal():
            return None
        return describe_fault(int(fields[0]), int(fields[1]), fields[2], situation)

    def _situation(self) -> Situation | None:
        try:
            return msgspec.json.decode(self.situation.read_bytes(), type=Situation)
        except (OSError, msgspec.DecodeError):
            return None


class FaultWatch:
    """The worker's side: notes every product, and has signals write where they struck.

    Without a compiler, or where the system refuses handlers, only the notes are there.
    """

    def __init__(self, files: NoteFiles) -> None:
        self._situation = os.open(files.situation, os.O_WRONLY | os.O_CREAT, 0o600)
        self._fault = os.open(files.fault, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            library = load_library("fault_report", "fault_report.cpp")
        except CompilerError:
            return
        library.topout_report_faults.argtypes = [ctypes.c_int]
        library.topout_report_faults(self._fault)

    def note(self, where: str, regions: Mapping[str, tuple[int, int]]) -> None:
        """The product that comes now."""
        text = msgspec.json.encode(Situation(where, dict(regions)))
        os.pwrite(self._situation, text, 0)
        os.ftruncate(self._situation, len(text))


def describe_fault(number: int, address: int, access: str, situation: Situation | None) -> str:
    """A signal in words: "it wrote 1 byte past the end of C, at 5x7x3"."""
    at = f", at {situation.where}" if situation else ""
    if number not in (signal.SIGSEGV, signal.SIGBUS):
        return f"it raised {signal_name(number)}{at}"
    action = _ACTIONS.get(access, "reached")
    near = _nearest_edge(address, situation.regions) if situation else None
    return f"it {action} {near or f'at address {address:#x}'}{at}"


def _nearest_edge(address: int, regions: Mapping[str, tuple[int, int]]) -> str | None:
    """How far outside which matrix an address lies; None where none is near."""
    outside = []
    for name, (begin, end) in regions.items():
        if address >= end:
            distance = address - end + 1
            outside.append((distance, f"{counted(distance, 'byte')} past the end of {name}"))
        elif address < begin:
            distance = begin - address
            outside.append((distance, f"{counted(distance, 'byte')} before the start of {name}"))
        else:
            return f"inside {name}"
    distance, text = min(outside, default=(_NEAR_BYTES, ""))
    return text if distance < _NEAR_BYTES else None


class Checking:
    """Checks versions in one worker, small products once and the shape of each case.

    `timeout_s` is what all small products together may take.
    """

    def __init__(self, worker: ProductWorker, timeout_s: float) -> None:
        self._worker = worker
        self._timeout_s = timeout_s
        self._basics: dict[tuple[GemmBuild, int], str | None] = {}  # the fault, if there is one

    def check(self, outcome: Outcome, build: GemmBuild, case: Case, longest_s: float) -> None:
        """Mark what is wrong as failed, and what takes longer than `longest_s` as skipped."""
        fault = self._fault_of_basics(build, case.threads)
        if fault is not None:
            outcome.fail(fault)
            return
        try:
            verdict = self._worker.call(
                "check_shape",
                self._timeout_s + 4 * longest_s,
                build=build,
                case=case,
                longest_s=longest_s,
            )
        except WorkerFailure as failure:
            outcome.fail(failure.message)
            return
        if verdict["fault"] is not None:
            outcome.fail(verdict["fault"])
        elif verdict["too_slow_s"] is not None:
            outcome.skip(
                f"one product would take about {verdict['too_slow_s']:.0f} s, "
                f"and {longest_s:.0f} s are allowed"
            )

    def _fault_of_basics(self, build: GemmBuild, threads: int) -> str | None:
        key = (build, threads)
        if key not in self._basics:
            try:
                reply = self._worker.call(
                    "check_basics",
                    self._timeout_s,
                    build=build,
                    threads=threads,
                )
                self._basics[key] = reply["fault"]
            except WorkerFailure as failure:
                self._basics[key] = failure.message
        return self._basics[key]
