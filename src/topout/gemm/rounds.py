"""Candidates timed in rounds, A B C, C B A, A B C …, with the ceilings of each round.

An `Effort` says how much time that may take, and how many rounds it is for each candidate.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from topout.errors import TopoutError, UnsupportedError
from topout.gemm.case import Case
from topout.gemm.results import Outcome
from topout.gemm.timing import Checked, Roofs
from topout.gemm.worker_process import ProductWorker
from topout.kernels.gemm_ops import GemmBuild
from topout.measure.worker import WorkerFailure
from topout.progress import Notify

_PREPARATION_TIMEOUT_S = 300.0
_LEAST_TIMEOUT_S = 30.0
_HUNG_AFTER = 50  # times as long as before
# To a product that takes longer it does not matter that its threads sleep and its code is cold.
_WARM_UP_BELOW_S = 0.05
_CHECK_AGAIN_BELOW_S = 1.0


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds at one shape, and the limits of what is slow."""

    rounds: int
    sample_s: float  # quick products are repeated until a sample lasts so long
    budget_s: float  # of one candidate in all rounds; a slow one takes part in fewer
    longest_product_s: float  # what takes longer is not measured at all

    def repeats(self, product_s: float) -> int:
        """Products of one sample."""
        return max(1, min(10_000, math.ceil(self.sample_s / max(product_s, 1e-9))))

    def rounds_of(self, product_s: float) -> int:
        """Rounds in which a candidate takes part, at least one."""
        sample_s = product_s * self.repeats(product_s)
        return max(1, min(self.rounds, int(self.budget_s / sample_s)))


QUICK = Effort(rounds=5, sample_s=0.005, budget_s=1.0, longest_product_s=4.0)
FULL = Effort(rounds=15, sample_s=0.02, budget_s=4.0, longest_product_s=20.0)


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
        self._contestants: Sequence[Contestant] = ()
        self._beginning = {
            "case": case,
            "working_set_bytes": working_set_bytes,
            "cache_bytes": cache_bytes,
        }

    def run(self, contestants: Sequence[Contestant], notify: Notify) -> None:
        """Time those that have not failed or been skipped, and fill in their outcomes."""
        self._contestants = contestants
        self._begin()
        for i, each in enumerate(contestants):
            notify(f"preparing {each.outcome.name}", 0.2 * i / len(contestants))
            self._prepare(each)
        for number in range(self._effort.rounds):
            order = [each for each in contestants if self._takes_part(each, number)]
            if not order:
                break
            self._measure_roofs(number)
            for i, each in enumerate(order if number % 2 == 0 else order[::-1]):
                share = (number + i / len(order)) / self._effort.rounds
                notify(f"timing {each.outcome.name}", 0.2 + 0.8 * share)
                if each.ready:
                    self._sample(each, number)
        for each in contestants:
            if each.ready and each.product_s < _CHECK_AGAIN_BELOW_S:
                self._check_again(each)
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

    def _prepare(self, each: Contestant) -> None:
        if each.outcome.status != "measured":
            return
        checked = self._first_product(each)
        if checked is None:
            return
        each.outcome.error_of_bound = checked.error_of_bound
        each.outcome.packed_ahead |= checked.packed_ahead
        each.product_s = checked.seconds
        if checked.fault is not None:
            each.outcome.fail(checked.fault)
            return
        each.ready = True

    def _first_product(self, each: Contestant) -> Checked | None:
        if isinstance(each.build, GemmBuild):
            reply = self._call(each, "add_version", _PREPARATION_TIMEOUT_S, build=each.build)
        else:
            reply = self._call(each, "add_rival", _PREPARATION_TIMEOUT_S)
        return None if reply is None else msgspec.convert(reply, Checked)

    def _takes_part(self, each: Contestant, number: int) -> bool:
        return each.ready and number < self._effort.rounds_of(each.product_s)

    def _sample(self, each: Contestant, number: int) -> None:
        repeats = self._effort.repeats(each.product_s)
        seconds = self._call(
            each,
            "sample",
            self._timeout_s(each, repeats + 1),
            repeats=repeats,
            warm_up=each.product_s < _WARM_UP_BELOW_S,
        )
        if seconds is not None:
            each.outcome.samples_s = {**each.outcome.samples_s, number: seconds}
            # The first product was made of cold code and sleeping threads.
            each.product_s = min(each.product_s, seconds)

    def _check_again(self, each: Contestant) -> None:
        reply = self._call(each, "check_again", self._timeout_s(each, 1))
        if reply is None:
            return
        checked = msgspec.convert(reply, Checked)
        if checked.fault is not None:
            each.outcome.fail(f"after the last round {checked.fault}")

    def _timeout_s(self, each: Contestant, products: int) -> float:
        return max(_LEAST_TIMEOUT_S, _HUNG_AFTER * products * each.product_s)

    def _measure_roofs(self, number: int) -> None:
        try:
            reply = self._worker.call("roofs", _LEAST_TIMEOUT_S)
        except WorkerFailure as failure:
            self.reasons["ceiling_flops_per_s"] = f"it could not be measured: {failure.message}"
            self._begin_again()
        else:
            self.roofs[number] = msgspec.convert(reply, Roofs)

    def _call(self, each: Contestant, method: str, timeout_s: float, **params: Any) -> Any:
        """Ask for something of one candidate; where that fails, it is out, and None returned."""
        try:
            return self._worker.call(method, timeout_s, name=each.outcome.name, **params)
        except WorkerFailure as failure:
            each.ready = False
            each.outcome.fail(failure.message)
        self._begin_again()
        return None

    def _begin_again(self) -> None:
        """In a new worker, if the old one ended: all who were ready are made ready again."""
        if self._worker.alive:
            return
        self._begin()
        for other in self._contestants:
            if other.ready:
                other.ready = False
                other.ready = self._first_product(other) is not None
