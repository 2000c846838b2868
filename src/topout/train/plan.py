"""What a user asks of `topout train`, and what the processes of a case are told and tell.

Processes read and write JSON in files; the network that they train is built from the plan.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec

from topout.errors import InputError
from topout.import_path import import_own
from topout.models.known import DEFAULT_MODEL
from topout.options import MOST_SEED, Device, Option, Request
from topout.records import StepPhase, TrainDtype, TrainStep, TrainTask

if TYPE_CHECKING:
    from torch import nn

DEFAULT_STEPS, QUICK_STEPS = 20, 8
DEFAULT_SEQUENCE_LEN = 128
MOST_RANKS = 1024
_MOST_LEARNING_RATE = 1000.0  # AdamW moves each weight by about as much in a step
DEFAULT_BUILDER = "topout.train.plan:load_network"


class TrainRequest(Request, frozen=True, kw_only=True):
    """The options of `topout train`; None stands for a default that depends on the others."""

    model: Annotated[str, Option("A name, a folder or a hub id.", positional=True)] = DEFAULT_MODEL
    data: Annotated[
        Path | None, Option("JSON Lines, CSV, TSV, Parquet with a text column, or plain text.")
    ] = None
    generated: Annotated[
        bool, Option("Data made from --seed that can be learned, in place of --data.")
    ] = False
    task: Annotated[
        TrainTask | None,
        Option("What is learned; default: classify for encoders, lm for decoders."),
    ] = None
    ranks: Annotated[
        list[int],
        Option(
            "Processes, one after the other: 1,2 compares.", metavar="N,…", least=1, most=MOST_RANKS
        ),
    ] = msgspec.field(default_factory=lambda: [1])
    steps: Annotated[
        int | None, Option("Updates of the weights; default: 20, quick: 8.", least=1)
    ] = None
    batch_size: Annotated[int, Option("Samples of a rank at a time.", least=1)] = 8
    accumulation: Annotated[
        int, Option("Batches of a rank between two updates.", flag="--accumulate", least=1)
    ] = 1
    sequence_len: Annotated[
        int | None, Option("Tokens of every sample; default: 128, or as many as fit.", least=2)
    ] = None
    dtype: Annotated[
        TrainDtype | None,
        Option("Of the computation, bf16 by autocast; default: as published, where it is run."),
    ] = None
    learning_rate: Annotated[
        float, Option("Learning rate of AdamW, constant.", above=0, most=_MOST_LEARNING_RATE)
    ] = 5e-5
    weight_decay: Annotated[float, Option("Weight decay of AdamW.", least=0)] = 0.01
    seed: Annotated[
        int, Option("Of the order, dropout, new heads and generated data.", least=0, most=MOST_SEED)
    ] = 0
    threads: Annotated[
        int | None, Option("CPU threads of each rank; default: all, shared out.", least=1)
    ] = None
    device: Annotated[Device, Option("Where it trains.")] = "cpu"
    random_weights: Annotated[bool, Option("Make the weights of a known model from --seed.")] = (
        False
    )
    text_column: Annotated[str, Option("Column of the texts.", metavar="NAME")] = "text"
    label_column: Annotated[str, Option("Column of the labels.", metavar="NAME")] = "label"
    skip_bad_rows: Annotated[bool, Option("Leave out rows that cannot be used.")] = False
    warmup_steps: Annotated[
        int | None, Option("Steps before any is timed; default: 3.", least=1)
    ] = None
    profiled_steps: Annotated[
        int | None,
        Option("Steps at the end that traces hold; default: 3.", flag="--profile-steps", least=0),
    ] = None
    quick: Annotated[bool, Option("Eight steps in place of twenty.")] = False

    def check(self) -> None:
        """Raise InputError for options that do not go together."""
        if self.generated == (self.data is not None):
            stated = f"both --generated and {self.data}" if self.generated else "neither"
            raise InputError(
                f"training needs data of one kind, and {stated} was given.",
                "Give --data FILE, or --generated for data made from --seed.",
            )
        if not self.ranks:
            raise InputError("--ranks names no number.", "Give a number, or several: --ranks 1,2.")
        if len(set(self.ranks)) < len(self.ranks):
            listed = ",".join(str(each) for each in self.ranks)
            raise InputError(f"--ranks {listed} names a number twice.", "Give each once.")
        if self.timed_count < 1:
            least = self.step_count - self.timed_count + 1
            raise InputError(
                f"--steps {self.step_count} leaves none to time beside {self.warmup_count} of "
                f"warm-up and {self.profiled_count} profiled, before which the profiler warms up "
                "for one.",
                f"Give --steps {least} or more.",
            )

    @property
    def step_count(self) -> int:
        """All steps of a case: warm-up, timed and profiled."""
        if self.steps is not None:
            return self.steps
        return QUICK_STEPS if self.quick else DEFAULT_STEPS

    @property
    def warmup_count(self) -> int:
        """Steps before any is timed: the first allocate memory and build DDP's buckets."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return 2 if self.step_count < DEFAULT_STEPS else 3

    @property
    def profiled_count(self) -> int:
        """Steps at the end that the traces hold."""
        if self.profiled_steps is not None:
            return self.profiled_steps
        return 2 if self.step_count < DEFAULT_STEPS else 3

    @property
    def timed_count(self) -> int:
        """Steps whose times are given: all between warm-up and profiler, which warms up itself."""
        return self.step_count - self.warmup_count - self.profiled_count - bool(self.profiled_count)


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
    memory_before_bytes: int | None  # of the process without the network
    unprofiled_peak_bytes: int  # of the process, until the profiler began
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
    is_own = plan.builder != DEFAULT_BUILDER
    builder = import_own(plan.builder) if is_own else load_network
    return cast("nn.Module", builder(plan))


def load_network(plan: Plan) -> "nn.Module":
    """The model that the plan names, with a head for its task.

    Raises a TopoutError when it cannot be loaded.
    """
    from topout.models.source import resolve_source
    from topout.models.trainable import load_trainable

    source = resolve_source(plan.model, random_weights=plan.random_weights, seed=plan.seed)
    return load_trainable(source, plan.task, max(plan.labels, 2), seed=plan.seed)
