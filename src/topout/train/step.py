"""One step of training: micro-batches forward and backward, then the update; timed and traced.

The parts are timed by the processor's clock on a CPU, by events on a GPU; a trace is written of the
last steps alone.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from topout.records import TrainDtype
from topout.train.distributed import Batch, without_sum

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


NextBatch = Callable[[int], Batch]
"""The batch of a micro-step, by its number within the step."""


class Trainer:
    """A network and its optimizer; `network(tokens, mask, labels)` gives (loss, logits)."""

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        dtype: TrainDtype,
        accumulation: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        self.network = network
        self._device = device
        self._dtype = dtype
        self._accumulation = accumulation
        trained = [each for each in network.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)

    def step(self, next_batch: NextBatch) -> tuple[StepTimes, float]:
        """One update; its times, and the mean loss of its micro-batches on this rank.

        Gradients are averaged over the micro-batches, and over the ranks once, in the backward
        pass of the last one.
        """
        timer = StepTimer(self._device)
        timer.begin()
        losses: list[Tensor] = []
        for micro in range(self._accumulation):
            with _region(timer, "data"):
                batch = next_batch(micro)
            is_last = micro == self._accumulation - 1
            with nullcontext() if is_last else without_sum(self.network):
                losses.append(self._forward_backward(timer, batch))
        with _region(timer, "optimizer"):
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        times = timer.end()
        return times, float(torch.stack(losses).mean())

    def backward_without_sum(self, batch: Batch) -> float:
        """Seconds of a backward pass whose gradients stay on the rank; they are dropped."""
        timer = StepTimer(self._device)
        timer.begin()
        with without_sum(self.network):
            self._forward_backward(timer, batch)
        times = timer.end()
        self._optimizer.zero_grad(set_to_none=True)
        return times["backward"]

    def _forward_backward(self, timer: StepTimer, batch: Batch) -> Tensor:
        with _region(timer, "forward"), self._autocast():
            loss: Tensor = self.network(batch.tokens, batch.mask, batch.labels)[0]
        with _region(timer, "backward"):
            (loss / self._accumulation).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=torch.bfloat16, enabled=self._dtype == "bf16"
        )


@contextmanager
def _region(timer: StepTimer, part: Part) -> Iterator[None]:
    """A part of the step, by one name in its times and in the trace."""
    with record_function(part):
        yield
    timer.ended(part)


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
