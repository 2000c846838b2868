"""What the processes of a case are told and tell, as JSON in files, and the network they train."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from topout.records import StepPhase, TrainDtype, TrainStep, TrainTask

if TYPE_CHECKING:
    from torch import nn

DEFAULT_BUILDER = "topout.train.plan:load_network"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One case, the same for all its ranks."""

    model: str
    random_weights: bool
    builder: str  # "module:function" that builds the network from this plan
    task: TrainTask
    labels: int  # classes of a classifier, else 0
    samples: str  # file of the samples
    output: str  # folder that every rank writes its lines to
    traces: str  # folder of the traces
    steps: int
    warmup_steps: int
    profiled_steps: int
    batch_size: int
    accumulation: int
    dtype: TrainDtype
    learning_rate: float
    weight_decay: float
    seed: int
    threads: int
    device: Literal["cpu", "cuda"]

    @property
    def timed_steps(self) -> int:
        """Steps between warm-up and profiler, whose own warm-up takes one more."""
        return self.steps - self.warmup_steps - self.profiled_steps - bool(self.profiled_steps)

    def phase_of(self, step: int) -> StepPhase:
        """What a step counts as; the one in which the profiler warms up counts as profiled."""
        if step < self.warmup_steps:
            return "warmup"
        return "timed" if step < self.warmup_steps + self.timed_steps else "profiled"


class StepDone(msgspec.Struct, frozen=True, tag="step"):
    """A step of this rank."""

    step: TrainStep


class SumComparison(msgspec.Struct, frozen=True, tag="sum"):
    """Backward of a step's last micro-batch, with the sum over the ranks and without it."""

    with_sum_s: float
    without_sum_s: float


class RankDone(msgspec.Struct, frozen=True, tag="done", kw_only=True):
    """What a rank knows at its end."""

    host: str
    device: str
    backend: str | None
    parameters: int  # that are trained
    gradient_bytes: int  # that it puts into the sum of a step
    processor_utilization: float | None
    peak_memory_bytes: int
    peak_device_bytes: int | None
    weights_digest: str  # of the trained weights, bit by bit
    trace: str | None  # the file's name


class RankRefused(msgspec.Struct, frozen=True, tag="refused"):
    """A fault that one line explains: the rank ends, and with it the others."""

    message: str


Line = StepDone | SumComparison | RankDone | RankRefused


def line_file(folder: Path, rank: int) -> Path:
    """Where a rank writes its lines."""
    return folder / f"rank-{rank}.jsonl"


class LineWriter:
    """Writes lines so that a reader never sees half of one, and a crash loses none before it."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = line_file(folder, rank).open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()

    def write(self, line: Line) -> None:
        """Append one line with a single write."""
        self._file.write(self._encoder.encode(line) + b"\n")


def read_lines(folder: Path, rank: int) -> list[Line]:
    """The lines of a rank so far; a last one that is not whole yet is left out."""
    try:
        data = line_file(folder, rank).read_bytes()
    except FileNotFoundError:
        return []
    decoder = msgspec.json.Decoder(Line)
    return [decoder.decode(line) for line in data.split(b"\n")[:-1]]


def build_network(plan: Plan) -> "nn.Module":
    """The network that the plan's builder, "module:function", makes.

    `network(tokens, mask, labels)` → (loss, logits).
    """
    module_name, _, function_name = plan.builder.partition(":")
    builder = getattr(importlib.import_module(module_name), function_name)
    return cast("nn.Module", builder(plan))


def load_network(plan: Plan) -> "nn.Module":
    """The model that the plan names, with a head for its task.

    Raises a TopoutError when it cannot be loaded.
    """
    from topout.models.source import resolve_source
    from topout.models.trainable import load_trainable

    source = resolve_source(plan.model, random_weights=plan.random_weights, seed=plan.seed)
    return load_trainable(source, plan.task, max(plan.labels, 2), seed=plan.seed)
