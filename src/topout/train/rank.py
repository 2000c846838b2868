"""One rank of a case from its first step to its last; it tells each step as soon as it is done."""

import hashlib
import math
import os
import platform
from pathlib import Path

import torch
from torch import nn

from topout.errors import InputError
from topout.measure.process import begin_peak, peak_rss_bytes, rss_bytes
from topout.records import TrainStep
from topout.train.distributed import (
    Batch,
    BatchSource,
    Ranks,
    data_parallel,
    join,
    sample_numbers,
    wait_for_all,
)
from topout.train.plan import LineWriter, Plan, RankDone, StepDone, SumComparison, build_network
from topout.train.step import StepProfiler, Trainer

_COMPARISONS = 5  # backward passes without the sum over the ranks, beside the last timed steps
TRACE_ENDING = ".pt.trace.json.gz"


def run_rank(plan: Plan, ranks: Ranks) -> None:
    """Train as `plan` says, as this rank of them; the results are lines in `plan.output`.

    Raises a TopoutError for what one line explains, and whatever the network raises.
    """
    torch.set_num_threads(plan.threads)
    begin_peak()
    device = ranks.device(plan.device)
    backend = join(ranks, device)
    torch.manual_seed(plan.seed)  # a head that has no trained weights is the same on every rank
    plain = build_network(plan).to(device).train()
    before = _without(plain, rss_bytes())
    torch.manual_seed(plan.seed + 1 + ranks.rank)  # what dropout leaves out is not
    run = _Run(plan, ranks, device, plain)
    trace = Path(plan.traces) / f"rank-{ranks.rank}{TRACE_ENDING}"
    utilization = run.all_steps(trace)
    wait_for_all()
    trained = [each for each in plain.parameters() if each.requires_grad]
    run.lines.write(
        RankDone(
            host=platform.node(),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            backend=backend,
            parameters=sum(each.numel() for each in trained),
            gradient_bytes=sum(each.numel() * each.element_size() for each in trained),
            processor_utilization=utilization,
            memory_before_bytes=before,
            unprofiled_peak_bytes=run.unprofiled_peak_bytes,
            peak_memory_bytes=peak_rss_bytes(),
            peak_device_bytes=(
                torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
            ),
            weights_digest=weights_digest(plain),
            trace=trace.name if plan.profiled_steps else None,
        )
    )
    wait_for_all()  # no rank leaves while another may still talk to it


def _without(network: nn.Module, size_bytes: int | None) -> int | None:
    """What a process of this size would have without the network on its CPU."""
    if size_bytes is None:
        return None
    tensors = [*network.parameters(), *network.buffers()]
    on_cpu = [each for each in tensors if each.device.type == "cpu"]
    return max(0, size_bytes - sum(each.numel() * each.element_size() for each in on_cpu))


class _Run:
    """The steps of one rank."""

    def __init__(self, plan: Plan, ranks: Ranks, device: torch.device, plain: nn.Module) -> None:
        self._plan = plan
        self._ranks = ranks
        self._device = device
        self._source = BatchSource(Path(plan.samples), plan.task, plan.seed, device)
        self._trainer = Trainer(
            data_parallel(plain, device),
            device=device,
            dtype=plan.dtype,
            accumulation=plan.accumulation,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
        )
        self.lines = LineWriter(Path(plan.output), ranks.rank)
        self.unprofiled_peak_bytes = 0

    def all_steps(self, trace: Path) -> float | None:
        """Run every step; returns the share of the threads' time that the timed ones used."""
        plan = self._plan
        processor_s = elapsed_s = 0.0
        profiler = StepProfiler(
            trace,
            silent_steps=plan.warmup_steps + plan.timed_steps,
            active_steps=plan.profiled_steps,
            on_gpu=self._device.type == "cuda",
            waits=self._ranks.world_size > 1,
        )
        with profiler:
            for number in range(plan.steps):
                before = _processor_s()
                with profiler.step(number):
                    step, last_backward_s = self._step(number)
                self.lines.write(StepDone(step))
                if step.phase != "profiled":  # the profiler keeps its events in memory
                    self.unprofiled_peak_bytes = peak_rss_bytes()
                if step.phase == "timed":
                    processor_s += _processor_s() - before
                    elapsed_s += step.total_s
                    self._compare(number, last_backward_s)
        if not elapsed_s:
            return None
        return min(1.0, processor_s / (elapsed_s * plan.threads))

    def _step(self, number: int) -> tuple[TrainStep, float]:
        times, loss = self._trainer.step(lambda micro: self._batch(number, micro))
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of step {number} is {loss}.",
                "Give a smaller --learning-rate, or --dtype fp32.",
            )
        step = TrainStep(
            number=number,
            phase=self._plan.phase_of(number),
            total_s=times.total_s,
            data_s=times["data"],
            forward_s=times["forward"],
            backward_s=times["backward"],
            optimizer_s=times["optimizer"],
            loss=loss,
        )
        return step, times.last("backward")

    def _compare(self, number: int, last_backward_s: float) -> None:
        """Time the step's last backward pass again without the sum over the ranks."""
        first_profiled = self._plan.warmup_steps + self._plan.timed_steps
        if self._ranks.world_size == 1 or number < first_profiled - _COMPARISONS:
            return
        without_s = self._trainer.backward_without_sum(
            self._batch(number, self._plan.accumulation - 1)
        )
        self.lines.write(SumComparison(last_backward_s, without_s))
        wait_for_all()  # so that the next step does not pay for a rank that was late here

    def _batch(self, step: int, micro: int) -> Batch:
        numbers = sample_numbers(
            step,
            micro,
            self._ranks.rank,
            ranks=self._ranks.world_size,
            batch_size=self._plan.batch_size,
            accumulation=self._plan.accumulation,
        )
        return self._source.batch(numbers)


def weights_digest(network: nn.Module) -> str:
    """A digest of the trained weights, bit by bit: the same on ranks that stayed in step."""
    digest = hashlib.sha256()
    for parameter in network.parameters():
        if parameter.requires_grad:
            data = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(data.numpy().tobytes())
    return digest.hexdigest()


def _processor_s() -> float:
    """CPU time of this process with all its threads."""
    times = os.times()
    return times.user + times.system
