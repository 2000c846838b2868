"""Candidates timed in rounds, A B C, C B A, A B C …, with the ceilings of each round."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from topout.errors import TopoutError, UnsupportedError
from topout.gemm.case import Case
from topout.gemm.effort import Effort
from topout.gemm.results import Outcome
from topout.gemm.roofs import Roofs
from topout.gemm.timing import Checked, can_check_again, needs_warm_up
from topout.gemm.worker_process import ProductWorker, build_parameter, case_parameter
from topout.kernels.gemm_ops import GemmBuild
from topout.measure.worker import WorkerFailure

Notify = Callable[[str, float], None]
_PREPARATION_TIMEOUT_S = 300.0
_LEAST_TIMEOUT_S = 30.0
_HUNG_AFTER = 50  # times as long as before


class Contestant(msgspec.Struct):
    """A version, a user's own file or a rival on its way through the rounds."""

    outcome: Outcome
    build: GemmBuild | TopoutError | None = None  # None for a rival
    is_own: bool = False
    product_s: float = 0.0  # its first product here
    ready: bool = False


def list_rivals(worker: ProductWorker, case: Case) -> list[Contestant]:
    """All rivals of a data type; those that cannot run here are skipped, with the reason.

    Raises WorkerFailure where looking for them ends the worker.
    """
    found = []
    for rival in worker.call("list_rivals", _PREPARATION_TIMEOUT_S, dtype=case.dtype):
        outcome = Outcome(rival["name"], is_rival=True, packed_ahead=rival["packed_ahead"])
        if rival["missing"] is not None:
            outcome.skip(rival["missing"])
        found.append(Contestant(outcome))
    return found


class Rounds:
    """The rounds of one case in one worker; who ends the worker fails, and the rest goes on."""

    def __init__(
        self,
        worker: ProductWorker,
        case: Case,
        effort: Effort,
        working_set_bytes: int,
        cache_bytes: int,
    ) -> None:
        self.roofs: dict[int, Roofs] = {}
        self.ridge_point = 0.0
        self.reasons: dict[str, str] = {}
        self._worker = worker
        self._case = case
        self._effort = effort
        self._beginning = {
            "case": case_parameter(case),
            "working_set_bytes": working_set_bytes,
            "cache_bytes": cache_bytes,
        }

    def run(self, contestants: Sequence[Contestant], notify: Notify) -> None:
        """Time whoever is still in the race, and fill in their outcomes."""
        self._begin()
        for i, each in enumerate(contestants):
            notify(f"preparing {each.outcome.name}", 0.2 * i / len(contestants))
            self._prepare(each, contestants)
        for number in range(self._effort.rounds):
            order = [each for each in contestants if self._takes_part(each, number)]
            if not order:
                break
            self._measure_roofs(number, contestants)
            for i, each in enumerate(order if number % 2 == 0 else order[::-1]):
                share = (number + i / len(order)) / self._effort.rounds
                notify(f"timing {each.outcome.name}", 0.2 + 0.8 * share)
                if each.ready:
                    self._sample(each, number, contestants)
        for each in contestants:
            if each.ready and can_check_again(each.product_s):
                self._check_again(each, contestants)
        if self._worker.alive:
            self._worker.call("end_timing", _PREPARATION_TIMEOUT_S)

    def _begin(self) -> None:
        try:
            reply = self._worker.call("begin_timing", _PREPARATION_TIMEOUT_S, **self._beginning)
        except WorkerFailure as failure:
            raise UnsupportedError(
                f"the matrices of {self._case} could not be made: the worker {failure.message}.",
                "Give a smaller shape, or close other programs.",
            ) from None
        self.ridge_point = reply["ridge_point"]
        self.reasons.update(reply["reasons"])
        if reply["b_copies"] > 1:
            self.reasons["weights"] = (
                f"{reply['b_copies']} matrices B took turns, more than the caches hold"
            )

    def _prepare(self, each: Contestant, contestants: Sequence[Contestant]) -> None:
        if each.outcome.status != "measured":
            return
        checked = self._first_product(each, contestants)
        if checked is None:
            return
        each.outcome.error_of_bound = checked.error_of_bound
        each.outcome.packed_ahead |= checked.packed_ahead
        each.product_s = checked.seconds
        if checked.fault is not None:
            each.outcome.fail(checked.fault)
            return
        each.ready = True

    def _first_product(self, each: Contestant, contestants: Sequence[Contestant]) -> Checked | None:
        if isinstance(each.build, GemmBuild):
            reply = self._call(
                each,
                contestants,
                "add_version",
                _PREPARATION_TIMEOUT_S,
                build=build_parameter(each.build),
            )
        else:
            reply = self._call(each, contestants, "add_rival", _PREPARATION_TIMEOUT_S)
        return None if reply is None else msgspec.convert(reply, Checked)

    def _takes_part(self, each: Contestant, number: int) -> bool:
        return each.ready and number < self._effort.rounds_of(each.product_s)

    def _sample(self, each: Contestant, number: int, contestants: Sequence[Contestant]) -> None:
        repeats = self._effort.repeats(each.product_s)
        seconds = self._call(
            each,
            contestants,
            "sample",
            self._timeout_s(each, repeats + 1),
            repeats=repeats,
            warm_up=needs_warm_up(each.product_s),
        )
        if seconds is not None:
            each.outcome.samples_s = {**each.outcome.samples_s, number: seconds}
            # The first product was made of cold code and sleeping threads.
            each.product_s = min(each.product_s, seconds)

    def _check_again(self, each: Contestant, contestants: Sequence[Contestant]) -> None:
        reply = self._call(each, contestants, "check_again", self._timeout_s(each, 1))
        if reply is None:
            return
        checked = msgspec.convert(reply, Checked)
        if checked.fault is not None:
            each.outcome.fail(f"after the last round {checked.fault}")

    def _timeout_s(self, each: Contestant, products: int) -> float:
        return max(_LEAST_TIMEOUT_S, _HUNG_AFTER * products * each.product_s)

    def _measure_roofs(self, number: int, contestants: Sequence[Contestant]) -> None:
        try:
            reply = self._worker.call("roofs", _LEAST_TIMEOUT_S)
        except WorkerFailure as failure:
            self.reasons["ceiling_flops_per_s"] = f"it could not be measured: {failure.message}"
            self._begin_again(contestants)
        else:
            self.roofs[number] = msgspec.convert(reply, Roofs)

    def _call(
        self,
        each: Contestant,
        contestants: Sequence[Contestant],
        method: str,
        timeout_s: float,
        **params: Any,
    ) -> Any:
        """Ask for something of one candidate; where that fails, it is out, and None returned."""
        try:
            return self._worker.call(method, timeout_s, name=each.outcome.name, **params)
        except WorkerFailure as failure:
            each.ready = False
            each.outcome.fail(failure.message)
        self._begin_again(contestants)
        return None

    def _begin_again(self, contestants: Sequence[Contestant]) -> None:
        """In a new worker, if the old one ended: all who were ready are made ready again."""
        if self._worker.alive:
            return
        self._begin()
        for other in contestants:
            if other.ready:
                other.ready = False
                other.ready = self._first_product(other, contestants) is not None
