"""Where a step's time goes: the processor's clock on a CPU, events on a GPU."""

import time
from collections import defaultdict
from typing import Literal

import torch

Part = Literal["data", "forward", "backward", "optimizer"]


class StepTimer:
    """Times the parts of one step; a part may come many times, in any order.

    On a GPU the parts are timed by events in its stream, so that nothing waits for them: a part
    is what the stream spent on it, and waiting for data counts where it held the stream up.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[Part | None, float | torch.cuda.Event]] = []

    def begin(self) -> None:
        """Start the step's clock."""
        self._marks = []
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        self._began = time.perf_counter()
        self._mark(None)

    def ended(self, part: Part) -> None:
        """What ran since the last mark was `part`."""
        self._mark(part)

    def end(self) -> "StepTimes":
        """Wait for the device and stop the clock."""
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        total_s = time.perf_counter() - self._began
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return StepTimes(total_s, [(part, _between(a, b)) for (_, a), (part, b) in pairs if part])

    def _mark(self, part: Part | None) -> None:
        if not self._on_gpu:
            self._marks.append((part, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append((part, event))


class StepTimes:
    """A step's time and its parts in the order in which they ran."""

    def __init__(self, total_s: float, spans: list[tuple[Part, float]]) -> None:
        self.total_s = total_s
        self._spans = spans
        self._sums: defaultdict[str, float] = defaultdict(float)
        for part, span_s in spans:
            self._sums[part] += span_s

    def __getitem__(self, part: Part) -> float:
        """Seconds of a part in sum; 0 where it did not run."""
        return self._sums[part]

    def last(self, part: Part) -> float:
        """Seconds of its last run; 0 where it did not run."""
        return next((span_s for name, span_s in reversed(self._spans) if name == part), 0.0)


def _between(begin: "float | torch.cuda.Event", end: "float | torch.cuda.Event") -> float:
    if isinstance(begin, float):
        assert isinstance(end, float)
        return end - begin
    assert not isinstance(end, float)
    return float(begin.elapsed_time(end)) / 1e3
