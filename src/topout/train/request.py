"""What a user asks of `topout train`, checked before anything is loaded."""

import math
from pathlib import Path
from typing import Literal, get_args

import msgspec

from topout.errors import InputError
from topout.records import TrainDtype, TrainTask

Device = Literal["cpu", "cuda"]
DEFAULT_STEPS, QUICK_STEPS = 20, 8
DEFAULT_SEQUENCE_LEN = 128
MOST_RANKS = 1024
_MOST_LEARNING_RATE = 1000.0  # AdamW moves each weight by about as much in a step


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `topout train`; None stands for a default that depends on the others."""

    model: str
    data: Path | None = None
    generated: bool = False
    task: TrainTask | None = None
    text_column: str = "text"
    label_column: str = "label"
    skip_bad_rows: bool = False
    ranks: list[int] = msgspec.field(default_factory=lambda: [1])
    steps: int | None = None
    batch_size: int = 8
    accumulation: int = 1
    sequence_len: int | None = None
    dtype: TrainDtype = "fp32"
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    seed: int = 0
    threads: int | None = None  # of each rank
    device: Device = "cpu"
    random_weights: bool = False
    warmup_steps: int | None = None
    profiled_steps: int | None = None
    quick: bool = False

    def check(self) -> None:
        """Raise InputError that names the first option that cannot be meant."""
        self._check_choices()
        self._check_counts()
        if not 0 < self.learning_rate <= _MOST_LEARNING_RATE:
            raise InputError(
                f"--learning-rate {self.learning_rate:g} is out of range.",
                f"Give a number above 0 and up to {_MOST_LEARNING_RATE:g}, such as 5e-5.",
            )
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise InputError(
                f"--weight-decay {self.weight_decay:g} is out of range.", "Give 0 or more."
            )
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed {self.seed} is out of range.", "Give 0 to 2⁶³ − 1.")
        self._check_plan()

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

    def _check_choices(self) -> None:
        if self.generated == (self.data is not None):
            stated = f"both --generated and {self.data}" if self.generated else "neither"
            raise InputError(
                f"training needs data of one kind, and {stated} was given.",
                "Give --data FILE, or --generated for data made from --seed.",
            )
        for option, value, choices in (
            ("--task", self.task, (None, *get_args(TrainTask))),
            ("--dtype", self.dtype, get_args(TrainDtype)),
            ("--device", self.device, get_args(Device)),
        ):
            if value not in choices:
                known = " or ".join(choice for choice in choices if choice is not None)
                raise InputError(f"{option} {value!r} is not known.", f"Give {known}.")

    def _check_counts(self) -> None:
        if not self.ranks:
            raise InputError("--ranks names no number.", "Give a number, or several: --ranks 1,2.")
        if len(set(self.ranks)) < len(self.ranks):
            raise InputError(
                f"--ranks {_listed(self.ranks)} names a number twice.", "Give each once."
            )
        for ranks in self.ranks:
            _in_range("--ranks", ranks, 1, MOST_RANKS)
        _in_range("--batch-size", self.batch_size, 1)
        _in_range("--accumulate", self.accumulation, 1)
        if self.sequence_len is not None:
            _in_range("--sequence-len", self.sequence_len, 2)
        if self.threads is not None:
            _in_range("--threads", self.threads, 1)

    def _check_plan(self) -> None:
        _in_range("--warmup-steps", self.warmup_count, 1)
        _in_range("--profile-steps", self.profiled_count, 0)
        if self.timed_count < 1:
            least = self.step_count - self.timed_count + 1
            raise InputError(
                f"--steps {self.step_count} leaves none to time beside {self.warmup_count} of "
                f"warm-up and {self.profiled_count} profiled, before which the profiler warms up "
                "for one.",
                f"Give --steps {least} or more.",
            )


def parse_ranks(text: str) -> list[int]:
    """ "1,2,4" → [1, 2, 4]; raises InputError for anything but whole numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--ranks {text!r} is no list of numbers.", "Give a number, or several: --ranks 1,2."
        ) from None


def _listed(ranks: list[int]) -> str:
    return ",".join(str(each) for each in ranks)


def _in_range(option: str, value: int, least: int, most: int | None = None) -> None:
    if value < least:
        raise InputError(f"{option} {value} is too small.", f"Give at least {least}.")
    if most is not None and value > most:
        raise InputError(f"{option} {value} is too large.", f"Give at most {most}.")
