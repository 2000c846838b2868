"""One step of training: micro-batches forward and backward, then the update, each part timed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from topout.records import TrainDtype
from topout.train.batches import Batch
from topout.train.distributed import without_sum
from topout.train.step_timer import Part, StepTimer, StepTimes

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
