"""The profiler over the last steps: silent before, one step to warm up, then a trace."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

# gloo closes a collective's span in a thread of its own, a moment after the step may go on.
_LAST_SPANS_S = 0.02


class StepProfiler:
    """Counts the steps of a case and writes `trace` of those after `silent_steps` and one more.

    With `active_steps` 0 it does nothing. While silent it costs nothing.
    """

    def __init__(
        self, trace: Path, *, silent_steps: int, active_steps: int, on_gpu: bool, waits: bool
    ) -> None:
        self._trace = trace
        self._last_step = silent_steps + active_steps if active_steps else None
        self._waits = waits
        self._profile: profile | None = None
        if not active_steps:
            return
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=silent_steps, warmup=1, active=active_steps, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
            profile_memory=True,
        )
        # Steps are named here, so that what is waited for after the last one is outside of it.
        self._profile.record_steps = False

    def __enter__(self) -> Self:
        if self._profile is not None:
            self._profile.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._profile is not None:
            self._profile.__exit__(  # type: ignore[no-untyped-call]
                kind, error, traceback
            )

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """The span of one step, under the name that trace readers know steps by."""
        if self._profile is None:
            yield
            return
        with record_function(f"ProfilerStep#{number}"):
            yield
        if number == self._last_step and self._waits:
            time.sleep(_LAST_SPANS_S)
        self._profile.step()

    def _write(self, finished: "torch.profiler.profile") -> None:
        self._trace.parent.mkdir(parents=True, exist_ok=True)
        finished.export_chrome_trace(str(self._trace))
