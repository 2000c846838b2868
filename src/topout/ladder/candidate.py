"""One stack of rungs in a worker process, as the ladder sees it."""

from pathlib import Path
from typing import Any

import msgspec

from topout.generation.session_process import WORKER_MODULE, worker_environment
from topout.measure.processor_time import processor_time, stolen_share
from topout.measure.worker import Worker
from topout.records import RunSample, Verification
from topout.rungs.registry import BASELINE


def label_of(stack: list[str]) -> str:
    """How a stack is called in results: its rungs joined, the baseline where there is none."""
    return " + ".join(stack) if stack else BASELINE


class Candidate:
    """A prepared stack that can be verified and timed; use as a context manager."""

    def __init__(self, stack: list[str], log: Path, threads: int, timeout_s: float) -> None:
        self.stack = stack
        self.label = label_of(stack)
        self.weight_bytes = 0
        self.prepare_s = 0.0
        self.reference: Path | None = None
        self._timeout_s = timeout_s
        self._log = log
        self._threads = threads
        self._worker = self._new_worker()

    def _new_worker(self) -> Worker:
        environment = worker_environment(self._threads)
        return Worker(WORKER_MODULE, self._log, environment=environment)

    @property
    def alive(self) -> bool:
        """Whether the worker process still runs."""
        return self._worker.alive

    def restart(self) -> None:
        """A new worker process, not yet prepared."""
        self._worker.close()
        self._worker = self._new_worker()

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()

    def prepare(self, preparation: msgspec.Struct) -> None:
        """Build and warm up; raises WorkerFailure."""
        reply = self.call("prepare", **msgspec.to_builtins(preparation))
        self.weight_bytes = reply["weight_bytes"]
        self.prepare_s = reply["prepare_s"]

    def call(self, method: str, **params: Any) -> Any:
        """Ask the worker; raises WorkerFailure."""
        return self._worker.call(method, self._timeout_s, **params)

    def make_reference(self, path: Path, windows: int) -> float:
        """Have the worker write its own reference; returns the seconds that took."""
        elapsed_s: float = self.call("reference", path=str(path), windows=windows)["elapsed_s"]
        self.reference = path
        return elapsed_s

    def verify(
        self, reference: Path, output_class: str, max_loss: float, text_bytes: int
    ) -> Verification:
        """Compare with a reference; raises WorkerFailure."""
        reply = self.call(
            "verify",
            path=str(reference),
            output_class=output_class,
            max_loss=max_loss,
            text_bytes=text_bytes,
        )
        return msgspec.convert(reply, Verification)

    def run(
        self, prompt: int, timed_tokens: int, at_s: float, ceiling_bytes_per_s: float | None
    ) -> RunSample:
        """One timed run of `timed_tokens` on prompt number `prompt`; raises WorkerFailure."""
        before = processor_time()
        reply = self.call("generate", prompt=prompt, timed_tokens=timed_tokens)
        return RunSample(
            at_s=at_s,
            stolen_share=stolen_share(before, processor_time()),
            ceiling_bytes_per_s=ceiling_bytes_per_s,
            **reply,
        )
