"""What a target is, apart from those there are: `planted.py` has others, and imports little."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.mutators import Mutator


class Seed(NamedTuple):
    """The files of a folder, and which of them is damaged."""

    name: str
    files: dict[str, bytes]
    damaged: str


class Target(NamedTuple):
    """`ask` reads a folder and returns what a terminal would show; TopoutError alone may come."""

    name: str
    seeds: Callable[[], Sequence[Seed]]
    mutators: Sequence[Mutator]
    ask: Callable[[Path], str]
    line: str  # the same on the command line, with "{file}" and "{folder}"; "" for none
    weight: int = 1  # how often it comes up beside the others
