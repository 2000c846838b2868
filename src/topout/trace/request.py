"""What a user asks of `topout trace`, `topout trace diff` and `topout trace runs`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from topout.errors import InputError
from topout.options import Option, Request

GroupDetail = Literal["fine", "coarse"]


class RulesRequest(Request, frozen=True, kw_only=True):
    """How traces are read, and their kernels put into groups."""

    rules: Annotated[
        Path | str | None,
        Option("Your own groups of kernels, beside the shipped ones.", metavar="FILE.toml"),
    ] = None
    max_memory_gb: Annotated[
        float | None,
        Option(
            "Memory that events may take; default: half of what is free.",
            flag="--max-memory",
            metavar="GB",
            above=0,
        ),
    ] = None
    groups: Annotated[GroupDetail, Option("Detail of the shipped groups of kernels.")] = "fine"

    @property
    def max_memory_bytes(self) -> int | None:
        """The same in bytes."""
        return None if self.max_memory_gb is None else int(self.max_memory_gb * 1e9)


class TraceRequest(RulesRequest, frozen=True, kw_only=True):
    """The options of `topout trace`."""

    paths: Annotated[
        list[str | Path],
        Option("Traces, or folders with a file per rank.", metavar="FILE|FOLDER", positional=True),
    ] = msgspec.field(default_factory=list)


class DiffRequest(RulesRequest, frozen=True, kw_only=True):
    """The options of `topout trace diff`."""

    before: Annotated[str | Path, Option("A trace, or a folder of ranks.", positional=True)]
    after: Annotated[str | Path, Option("What to compare with it.", positional=True)]


class RunsRequest(RulesRequest, frozen=True, kw_only=True):
    """The options of `topout trace runs`."""

    paths: Annotated[
        list[str | Path],
        Option(
            "A trace, or a folder of ranks, for each number of devices.",
            metavar="RUN",
            positional=True,
        ),
    ] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse fewer than two runs."""
        Request.__post_init__(self)
        if len(self.paths) < 2:
            raise InputError(
                f"`trace runs` compares two runs or more, and {len(self.paths)} "
                f"{'is' if len(self.paths) == 1 else 'are'} named.",
                "Say: topout trace runs RUN RUN... (a folder for the ranks of a run; a file named "
                "runs is ./runs).",
            )
