"""A worker asked for timed runs: of one way to multiply, or of two in turns."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from topout.generation.session_process import worker_environment
from topout.measure.processor_time import processor_time, stolen_share
from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.measure.worker import Worker
from topout.progress import Notify
from topout.records import PairedRatio, RunSample, Verification
from topout.records.climb import ProductCounts

WORKER_MODULE = "topout.verbs.run_worker"
TIMEOUT_S = 900.0  # of one answer; the plainest version takes minutes for a long prompt
LONG_S = 180.0  # of timing, from which on two pairs suffice
LEAST_PAIRS = 2


class FixedPairs(StoppingRule, frozen=True, kw_only=True):
    """So many pairs, and fewer of them where they take too long."""

    pairs: int

    def enough(self, ratio: PairedRatio, elapsed_s: float) -> bool:
        """Whether all pairs are run, or those that must be have taken `LONG_S`."""
        count = len(ratio.pairs)
        return count >= self.pairs or (count >= LEAST_PAIRS and elapsed_s > LONG_S)


class TimedModel:
    """A model in a worker process, ready to run; use it in a `with` block.

    Whatever a version does wrong ends the worker alone: all methods raise WorkerFailure.
    """

    def __init__(self, log: Path, threads: int, timed_tokens: int, notify: Notify) -> None:
        self._worker = Worker(WORKER_MODULE, log, environment=worker_environment(threads))
        self._timed_tokens = timed_tokens
        self._notify = notify
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()

    def prepare(self, preparation: msgspec.Struct) -> int:
        """Load and warm up; returns the bytes of the weights."""
        self._notify("load and warm up", 0.0)
        parameters = msgspec.to_builtins(preparation)
        weight_bytes: int = self._worker.call("prepare", TIMEOUT_S, **parameters)["weight_bytes"]
        return weight_bytes

    def verify(self) -> Verification:
        """The model with the other product in place against itself as it is."""
        self._notify("verify the output", 0.2)
        return msgspec.convert(self._worker.call("verify", TIMEOUT_S), Verification)

    def counts(self) -> ProductCounts:
        """What the latest routed run counted."""
        reply = self._worker.call("counts", TIMEOUT_S, timed_tokens=self._timed_tokens)
        return msgspec.convert(reply, ProductCounts)

    def run_alone(self, repeats: int) -> list[RunSample]:
        """The model as it is, so many times."""
        return [self._run(number, repeats, routed=False) for number in range(repeats)]

    def run_in_turns(self, repeats: int) -> Duel[RunSample]:
        """The model as it is (the rival) and with the other product, A B, B A, …"""
        numbers = {False: 0, True: 0}

        def run(routed: bool) -> RunSample:
            sample = self._run(numbers[routed], repeats, routed=routed)
            numbers[routed] += 1
            return sample

        rule = FixedPairs(pairs=repeats)
        return run_in_turns(lambda: run(False), lambda: run(True), rule)

    def _run(self, number: int, repeats: int, *, routed: bool) -> RunSample:
        done = 0.4 + 0.6 * number / repeats
        self._notify(f"run {number + 1} of {repeats}{', routed' if routed else ''}", done)
        before, at_s = processor_time(), time.monotonic() - self._began
        reply = self._worker.call(
            "generate", TIMEOUT_S, prompt=number, timed_tokens=self._timed_tokens, routed=routed
        )
        share = stolen_share(before, processor_time())
        return RunSample(at_s=at_s, stolen_share=share, **reply)
