"""What a worker did when it died, in words."""

import signal
from pathlib import Path

import msgspec
import pytest

from topout.gemm.faults import NoteFiles, Situation, describe_fault

SITUATION = Situation("5x7x3", {"A": (10_000, 11_000), "C": (50_000, 52_000)})
SEGV = int(signal.SIGSEGV)


@pytest.mark.parametrize(
    ("address", "access", "text"),
    [
        (52_000, "w", "it wrote 1 byte past the end of C, at 5x7x3"),
        (52_063, "r", "it read 64 bytes past the end of C, at 5x7x3"),
        (49_996, "w", "it wrote 4 bytes before the start of C, at 5x7x3"),
        (11_000, "?", "it reached 1 byte past the end of A, at 5x7x3"),
        (10_500, "w", "it wrote inside A, at 5x7x3"),
        (9_000_000, "w", "it wrote at address 0x895440, at 5x7x3"),
    ],
)
def test_where_it_struck(address: int, access: str, text: str) -> None:
    assert describe_fault(SEGV, address, access, SITUATION) == text


def test_other_signals_have_no_address() -> None:
    text = describe_fault(int(signal.SIGABRT), 0, "?", SITUATION)
    assert text == "it raised SIGABRT, at 5x7x3"
    assert describe_fault(SEGV, 16, "r", None) == "it read at address 0x10"


@pytest.mark.parametrize("line", ["", "11", "11 x w", "a b c", "11 16"])
def test_what_is_not_a_report_says_nothing(tmp_path: Path, line: str) -> None:
    files = NoteFiles(tmp_path / "situation", tmp_path / "fault")
    assert files.where() is None and files.describe() is None
    files.clear()
    files.fault.write_text(line)
    files.situation.write_text("{")
    assert files.where() is None and files.describe() is None


def test_a_report_is_read_with_its_situation(tmp_path: Path) -> None:
    files = NoteFiles(tmp_path / "situation", tmp_path / "fault")
    files.situation.write_bytes(msgspec.json.encode(SITUATION))
    files.fault.write_text(f"{SEGV} 52000 w\n6 0 ?\n")
    assert files.where() == "5x7x3"
    assert files.describe() == "it wrote 1 byte past the end of C, at 5x7x3"
