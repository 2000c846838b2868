"""Checks in a worker, before anything is timed: what is wrong, crashes or hangs is no speed."""

from topout.gemm.case import Case
from topout.gemm.results import Outcome
from topout.gemm.worker_process import ProductWorker, build_parameter, case_parameter
from topout.kernels.gemm_ops import GemmBuild
from topout.measure.worker import WorkerFailure


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
                build=build_parameter(build),
                case=case_parameter(case),
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
                    build=build_parameter(build),
                    threads=threads,
                )
                self._basics[key] = reply["fault"]
            except WorkerFailure as failure:
                self._basics[key] = failure.message
        return self._basics[key]
