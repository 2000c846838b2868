"""The child process in which a model is profiled: `python -m topout.profiling.worker`."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file

from topout.generation.build import build_session, module_of
from topout.generation.session import Session
from topout.ladder.worker import Preparation, make_build
from topout.measure.memory import begin_peak, peak_rss_bytes
from topout.measure.worker import serve
from topout.profiling.runs import run_captured, run_counted, run_plain
from topout.trace.capture import Phases


class ProfilePreparation(msgspec.Struct, frozen=True):
    """What the worker is asked to build, and how many tokens a run generates."""

    build: Preparation
    run_tokens: int


class ProfileWorker:
    """Holds one session, and runs it plainly, captured or counted."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._module = torch.nn.Module()
        self._prompt = torch.empty(0)
        self._tokens = self._threads = 0

    def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """Build the session and run it twice."""
        preparation = msgspec.convert(params, ProfilePreparation)
        workload = preparation.build.workload
        torch.set_num_threads(workload.threads)
        self._threads, self._tokens = workload.threads, preparation.run_tokens
        self._prompt = load_file(preparation.build.texts)["prompts"][0]
        session = build_session(make_build(preparation.build), preparation.build.stack)
        self._session, self._module = session, module_of(session)
        begin_peak()
        for _ in range(2):
            session.generate(self._prompt, self._tokens)
        return {"weight_bytes": session.weight_bytes, "peak_rss_bytes": peak_rss_bytes()}

    def plain(self, params: dict[str, Any]) -> Any:
        """A timed run without the profiler."""
        passes = _Passes(self._generate)
        with _told(self._module, passes.next):
            return msgspec.to_builtins(run_plain(passes.run, self._threads))

    def captured(self, params: dict[str, Any]) -> Any:
        """A run under the profiler; its trace goes to `path`."""
        passes = _Passes(self._generate)

        def on_forward(module: torch.nn.Module) -> None:
            if module is self._module:
                passes.next()

        roots = {"": self._module}
        return msgspec.to_builtins(
            run_captured(passes.run, Path(params["path"]), roots, on_forward)
        )

    def counted(self, params: dict[str, Any]) -> Any:
        """What the operators of a run have to do."""
        return msgspec.to_builtins(run_counted(lambda _: self._generate(), self._module))

    def _generate(self) -> None:
        assert self._session is not None
        self._session.generate(self._prompt, self._tokens)


class _Passes:
    """Tells the passes of a generation apart: each forward of the whole model begins one."""

    def __init__(self, generate: Callable[[], None]) -> None:
        self._generate = generate
        self._count = 0
        self._phases = Phases()

    def run(self, phases: Phases) -> None:
        """Generate; what is done before the first forward is prefill's."""
        self._phases, self._count = phases, 0
        phases.begin("prefill")
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


def main() -> None:
    """Serve until the parent is gone."""
    worker = ProfileWorker()
    handlers = {
        "prepare": worker.prepare,
        "plain": worker.plain,
        "captured": worker.captured,
        "counted": worker.counted,
    }
    serve(handlers, sys.argv[1:])


if __name__ == "__main__":
    main()
