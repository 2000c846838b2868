"""Readers with the faults that the harness looks for: each has to be seen and told."""

import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.mutators import flip_bits
from tests.fuzz.target import Seed, Target
from topout.errors import InputError


def _seeds() -> Sequence[Seed]:
    return [Seed("plain", {"file": b"0123456789" * 10}, "file")]


def _good(folder: Path) -> str:
    if (folder / "file").read_bytes():
        raise InputError("it is refused.", "As it should be.")
    return ""


def _raises(folder: Path) -> str:
    return str({}[(folder / "file").read_bytes()])


def _panics(folder: Path) -> str:
    raise BaseException("what is no Exception")


def _hangs(folder: Path) -> str:
    time.sleep(3600)
    return ""


def _eats_memory(folder: Path) -> str:
    held = bytearray(b"x") * (1200 << 20)
    return str(len(held))


def _dies(folder: Path) -> str:
    import os

    os._exit(11)


def _shows_control_characters(folder: Path) -> str:
    return "\x1b[2J"


def _one(ask: object) -> list[Target]:
    return [Target("planted", _seeds, [flip_bits], ask, "")]  # type: ignore[arg-type]


GOOD, RAISES, PANICS, HANGS = _one(_good), _one(_raises), _one(_panics), _one(_hangs)
EATS_MEMORY, DIES, SHOWS = _one(_eats_memory), _one(_dies), _one(_shows_control_characters)
