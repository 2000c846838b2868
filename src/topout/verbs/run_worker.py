"""The child process that a run is timed in, and its parent's side: `topout.verbs.run_worker`.

Both ways to multiply run in one process on one copy of the weights, so that nothing else differs.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from topout.gemm.routing import Routing
from topout.gemm.sources import parse_choice
from topout.generation.session_process import SessionProcess
from topout.generation.session_worker import SessionWorker
from topout.measure.disturbance import WATCH
from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.measure.speed_test import SpeedTest
from topout.measure.worker import Handler
from topout.progress import Notify
from topout.records import PairedRatio, RunSample, Verification
from topout.records.climb import ProductCounts
from topout.records.gemm import GemmDtype

WORKER_MODULE = "topout.verbs.run_worker"
TIMEOUT_S = 900.0  # of one answer; the plainest version takes minutes for a long prompt
LONG_S = 180.0  # of timing, from which on two pairs suffice
LEAST_PAIRS = 2


class RunWorker(SessionWorker):
    """Holds one session, and one routing where one was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._routing: Routing | None = None
        self._plain_peak_bytes = 0  # before the version laid out weights for itself

    def handlers(self) -> dict[str, Handler]:
        """Those of every session, and what concerns another product."""
        return super().handlers() | {"route": self.route, "counts": self.counts}

    def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """Build the session and run it twice as it is."""
        reply = super().prepare(params)
        self._plain_peak_bytes = reply["warmup_peak_bytes"]
        return reply

    def route(self, params: dict[str, Any]) -> None:
        """Compile the version that `gemm` names, to be put in PyTorch's place."""
        choice = parse_choice(params["gemm"], params["dtype"])
        # A model that only runs does not change: its weights may be laid out once.
        weights = list(self.session.module.parameters())
        threads = self.preparation.workload.threads
        self._routing = Routing(choice.load(), choice.name, threads, weights)

    def verify(self, params: dict[str, Any]) -> Verification:
        """The routed model against a reference of the model as it is."""
        with self._routed():
            return super().verify(params)

    def generate(self, params: dict[str, Any]) -> dict[str, Any]:
        """One timed run; `routed` or as it is.

        The peak of memory as it is comes from the warm-up: later the version's copies lie beside.
        """
        if not params["routed"]:
            return super().generate(params) | {"peak_memory_bytes": self._plain_peak_bytes}
        self.begin_peak()
        routing = self._routed()
        routing.reset()
        with routing:
            return super().generate(params)

    def counts(self, params: dict[str, Any]) -> ProductCounts:
        """What the latest routed run, of so many `tokens`, counted."""
        routing = self._routed()
        return ProductCounts(
            new_tokens=params["tokens"],
            routed=routing.routed,
            passed=dict(routing.passed),
            copied=dict(routing.copied),
        )

    def _routed(self) -> Routing:
        assert self._routing is not None
        return self._routing


class FixedPairs(StoppingRule, frozen=True, kw_only=True):
    """So many pairs, and fewer of them where they take too long."""

    test: SpeedTest = SpeedTest()
    pairs: int

    def enough(self, ratio: PairedRatio, elapsed_s: float) -> bool:
        """Whether all pairs are run, or those that must be have taken `LONG_S`."""
        count = len(ratio.pairs)
        return count >= self.pairs or (count >= LEAST_PAIRS and elapsed_s > LONG_S)


class RunProcess(SessionProcess):
    """A model that runs as it is, or with another product in PyTorch's place.

    Whatever a version does wrong ends its process alone: all methods raise WorkerFailure.
    """

    def __init__(self, log: Path, threads: int, timed_tokens: int, notify: Notify) -> None:
        super().__init__(WORKER_MODULE, log, threads, TIMEOUT_S)
        self._timed_tokens = timed_tokens
        self._notify = notify
        self._began = time.monotonic()

    def prepare(self, preparation: msgspec.Struct) -> None:
        """Load and warm up."""
        self._notify("load and warm up", 0.0)
        super().prepare(preparation)

    def route(self, gemm: str, dtype: GemmDtype) -> None:
        """Compile the version that `gemm` names, to be put in PyTorch's place."""
        self.call("route", gemm=gemm, dtype=dtype)

    def verify_routed(
        self, reference: Path, prompt_lens: Sequence[int], scored_tokens: int, text_bytes: int
    ) -> Verification:
        """The model with the other product in place against itself as it is."""
        self._notify("verify the output", 0.2)
        self.make_reference(reference, prompt_lens, scored_tokens)
        return self.verify(reference, "exact", 0.0, text_bytes)

    def counts(self) -> ProductCounts:
        """What the latest routed run counted."""
        return msgspec.convert(self.call("counts", tokens=self._timed_tokens), ProductCounts)

    def run_alone(self, repeats: int) -> list[RunSample]:
        """The model as it is, so many times."""
        return [self._run(number, repeats, routed=False) for number in range(repeats)]

    def run_in_turns(self, repeats: int) -> Duel[RunSample]:
        """The model as it is (the rival) and with the other product, A B, B A, …"""
        plain, routed = itertools.count(), itertools.count()
        return run_in_turns(
            lambda: self._run(next(plain), repeats, routed=False),
            lambda: self._run(next(routed), repeats, routed=True),
            FixedPairs(pairs=repeats),
            watch=WATCH,
        )

    def _run(self, number: int, repeats: int, *, routed: bool) -> RunSample:
        done = 0.4 + 0.6 * number / repeats
        self._notify(f"run {number + 1} of {repeats}{', routed' if routed else ''}", done)
        at_s = time.monotonic() - self._began
        return self.run(number, self._timed_tokens, at_s, routed=routed)


if __name__ == "__main__":
    RunWorker().serve()
