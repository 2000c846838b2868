"""What a worker did when it died: noted before each product, and read by its parent."""

import ctypes
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from topout.errors import CompilerError
from topout.kernels.build import load_library

_NEAR_BYTES = 1 << 16
_ACTIONS = {"w": "wrote", "r": "read"}


class Situation(msgspec.Struct, frozen=True):
    """The product that a worker was at: its name, and where its matrices begin and end."""

    where: str
    regions: dict[str, tuple[int, int]]


class NoteFiles(NamedTuple):
    """Where a worker notes what it is at, and where a signal handler writes how it ended."""

    situation: Path
    fault: Path

    def clear(self) -> None:
        """Forget what an earlier worker noted."""
        for file in self:
            file.write_bytes(b"")

    def where(self) -> str | None:
        """Which product was the last; None when there was none."""
        situation = self._situation()
        return situation.where if situation else None

    def describe(self) -> str | None:
        """What the worker touched last, in words; None when nothing is known of it."""
        situation = self._situation()
        try:
            fields = self.fault.read_text(errors="replace").split("\n")[0].split()
        except OSError:
            return None
        if len(fields) != 3 or not (fields[0] + fields[1]).isdecimal():
            return None
        return describe_fault(int(fields[0]), int(fields[1]), fields[2], situation)

    def _situation(self) -> Situation | None:
        try:
            return msgspec.json.decode(self.situation.read_bytes(), type=Situation)
        except (OSError, msgspec.DecodeError):
            return None


class FaultWatch:
    """The worker's side: notes every product, and has signals write where they struck.

    Without a compiler, or where the system refuses handlers, only the notes are there.
    """

    def __init__(self, files: NoteFiles) -> None:
        self._situation = os.open(files.situation, os.O_WRONLY | os.O_CREAT, 0o600)
        self._fault = os.open(files.fault, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            library = load_library("fault_report", "fault_report.cpp")
        except CompilerError:
            return
        library.topout_report_faults.argtypes = [ctypes.c_int]
        library.topout_report_faults(self._fault)

    def note(self, where: str, regions: Mapping[str, tuple[int, int]]) -> None:
        """The product that comes now."""
        text = msgspec.json.encode(Situation(where, dict(regions)))
        os.pwrite(self._situation, text, 0)
        os.ftruncate(self._situation, len(text))


def describe_fault(number: int, address: int, access: str, situation: Situation | None) -> str:
    """A signal in words: "it wrote 1 byte past the end of C, at 5x7x3"."""
    at = f", at {situation.where}" if situation else ""
    if number not in (signal.SIGSEGV, signal.SIGBUS):
        return f"it raised {_signal_name(number)}{at}"
    action = _ACTIONS.get(access, "reached")
    near = _nearest_edge(address, situation.regions) if situation else None
    return f"it {action} {near or f'at address {address:#x}'}{at}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nearest_edge(address: int, regions: Mapping[str, tuple[int, int]]) -> str | None:
    """How far outside which matrix an address lies; None where none is near."""
    outside = []
    for name, (begin, end) in regions.items():
        if address >= end:
            distance = address - end + 1
            outside.append((distance, f"{_bytes(distance)} past the end of {name}"))
        elif address < begin:
            distance = begin - address
            outside.append((distance, f"{_bytes(distance)} before the start of {name}"))
        else:
            return f"inside {name}"
    distance, text = min(outside, default=(_NEAR_BYTES, ""))
    return text if distance < _NEAR_BYTES else None


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
