"""The child process in which a model is profiled, and its parent's side."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch

from topout.generation.session_process import SessionProcess
from topout.generation.session_worker import SessionWorker
from topout.measure.worker import Handler
from topout.profiling.runs import CapturedRun, PlainRun, run_captured, run_counted, run_plain
from topout.records import Count
from topout.trace.capture import Phases

WORKER_MODULE = "topout.profiling.worker"
TIMEOUT_S = 900.0  # of one answer


class ProfileWorker(SessionWorker):
    """Holds one session, and runs it plainly, captured or counted."""

    def handlers(self) -> dict[str, Handler]:
        """Those of every session, and ways to look into a run of so many `tokens`."""
        looks = {"plain": self.plain, "captured": self.captured, "counted": self.counted}
        return super().handlers() | looks

    def plain(self, params: dict[str, Any]) -> PlainRun:
        """A timed run without the profiler."""
        passes = self._passes(params)
        with _told(self.session.module, passes.next):
            return run_plain(passes.run, self.preparation.workload.threads)

    def captured(self, params: dict[str, Any]) -> CapturedRun:
        """A run under the profiler; its trace goes to `path`."""
        module, passes = self.session.module, self._passes(params)

        def on_forward(called: torch.nn.Module) -> None:
            if called is module:
                passes.next()

        path, roots = Path(params["path"]), {"": module}
        return run_captured(passes.run, path, roots, on_forward)

    def counted(self, params: dict[str, Any]) -> Count:
        """What the operators of a run have to do."""
        return run_counted(lambda _: self._generate(params), self.session.module)

    def _passes(self, params: dict[str, Any]) -> "_Passes":
        first = "prefill" if self.preparation.workload.task == "generate" else "forward"
        return _Passes(first, lambda: self._generate(params))

    def _generate(self, params: dict[str, Any]) -> None:
        self.session.generate(self.prompts[0], params["tokens"])


class _Passes:
    """Tells the passes of a generation apart: each forward of the whole model begins one."""

    def __init__(self, first: str, generate: Callable[[], None]) -> None:
        self._first = first
        self._generate = generate
        self._count = 0
        self._phases = Phases()

    def run(self, phases: Phases) -> None:
        """Generate; what is done before the first forward belongs to the first phase."""
        self._phases, self._count = phases, 0
        phases.begin(self._first)
        self._generate()

    def next(self) -> None:
        """A forward of the model begins."""
        if self._count:
            self._phases.begin(f"decode token {self._count}")
        self._count += 1


@contextmanager
def _told(module: torch.nn.Module, tell: Callable[[], None]) -> Iterator[None]:
    """Within it `tell` is called before each forward; not by a hook, which slows all modules."""
    plain = module.forward

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        tell()
        return plain(*args, **kwargs)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward


class ProfileProcess(SessionProcess):
    """A model in a process of its own, of which runs of so many `tokens` are looked into.

    All methods raise WorkerFailure.
    """

    def __init__(self, log: Path, threads: int, tokens: int) -> None:
        super().__init__(WORKER_MODULE, log, threads, TIMEOUT_S)
        self._tokens = tokens

    def plain(self) -> PlainRun:
        """A timed run without the profiler."""
        return msgspec.convert(self.call("plain", tokens=self._tokens), PlainRun)

    def captured(self, path: Path) -> CapturedRun:
        """A run under the profiler, its trace in `path`."""
        reply = self.call("captured", tokens=self._tokens, path=str(path.absolute()))
        return msgspec.convert(reply, CapturedRun)

    def counted(self) -> Count:
        """What the operators of a run have to do."""
        return msgspec.convert(self.call("counted", tokens=self._tokens), Count)


if __name__ == "__main__":
    ProfileWorker().serve()
