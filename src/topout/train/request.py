"""What a user asks of `topout train`, checked before anything is loaded."""

from pathlib import Path
from typing import Annotated

import msgspec

from topout.errors import InputError
from topout.models.known import DEFAULT_MODEL
from topout.options import MOST_SEED, Device, Option, Request
from topout.records import TrainDtype, TrainTask

DEFAULT_STEPS, QUICK_STEPS = 20, 8
DEFAULT_SEQUENCE_LEN = 128
MOST_RANKS = 1024
_MOST_LEARNING_RATE = 1000.0  # AdamW moves each weight by about as much in a step


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
    dtype: Annotated[TrainDtype, Option("Data type of the computation; bf16 by autocast.")] = "fp32"
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
