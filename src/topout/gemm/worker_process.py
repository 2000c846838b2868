"""A worker that checks or times products, as its parent sees it. Imports no torch."""

from pathlib import Path
from typing import Any

import msgspec

from topout.gemm.case import Case
from topout.gemm.faults import NoteFiles
from topout.gemm.rivals import rival_environment
from topout.kernels.gemm_ops import GemmBuild
from topout.measure.lifetime import Closing
from topout.measure.worker import Worker, WorkerFailure

WORKER_MODULE = "topout.gemm.worker"
_START_TIMEOUT_S = 120.0  # a compiler may run, on a busy machine


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


def build_parameter(build: GemmBuild) -> dict[str, Any]:
    """A compiled product as a request carries it."""
    return {"path": str(build.path), "dtype": build.dtype, "openmp": build.openmp}


def case_parameter(case: Case) -> dict[str, Any]:
    """A case as a request carries it."""
    parameter: dict[str, Any] = msgspec.to_builtins(case)
    return parameter
