"""What a source can do wrong is caught in a worker and named, and so is how a worker died."""

import re
import signal
from pathlib import Path

import msgspec
import pytest

from tests.gemm.own_sources import PACKING, RIGHT, TALKATIVE, WRONG, write_source
from topout.errors import CompilerError, UnsupportedError
from topout.gemm.case import Case
from topout.gemm.results import Outcome
from topout.gemm.sources import build_own
from topout.gemm.worker_process import (
    Checking,
    NoteFiles,
    ProductWorker,
    Situation,
    count_product,
    describe_fault,
)
from topout.kernels.gemm_ops import build_gemm, version_source

CASE = Case(64, 48, 40, "fp32", 2)
TIMEOUT_S = 600.0


def outcome_of(folder: Path, text: str, timeout_s: float = TIMEOUT_S) -> Outcome:
    build = build_own(write_source(folder, text))
    outcome = Outcome("my_gemm.cpp")
    with ProductWorker("own", folder, CASE.threads) as worker:
        worker.call("load", TIMEOUT_S, build=build)
        Checking(worker, timeout_s).check(outcome, build, CASE, longest_s=4.0)
    return outcome


@pytest.mark.parametrize("text", [RIGHT, PACKING, TALKATIVE], ids=["plain", "packing", "talkative"])
def test_a_right_source_passes(tmp_path: Path, text: str) -> None:
    outcome = outcome_of(tmp_path, text)
    assert (outcome.status, outcome.reason) == ("measured", None)


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_source_fails_with_its_reason(tmp_path: Path, name: str) -> None:
    text, reason = WRONG[name]
    outcome = outcome_of(tmp_path, text, 2.0 if name == "loops" else TIMEOUT_S)
    assert outcome.status == "failed" and not outcome.is_measured
    assert outcome.reason is not None and re.search(reason, outcome.reason), outcome.reason
    assert "\n" not in outcome.reason


def test_a_wrong_packed_product_is_caught(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, PACKING.replace("p->ldb, ldc, threads)", "n, ldc, threads)"))
    assert outcome.status == "failed"
    assert "gemm_packed at" in (outcome.reason or "") and "lda, ldb, ldc" in (outcome.reason or "")


def test_small_products_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = build_own(write_source(tmp_path, RIGHT))
    calls: list[str] = []
    with ProductWorker("own", tmp_path, CASE.threads) as worker:
        call = worker.call
        monkeypatch.setattr(
            worker,
            "call",
            lambda method, *rest, **named: calls.append(method) or call(method, *rest, **named),
        )
        checking = Checking(worker, TIMEOUT_S)
        for _ in range(2):
            checking.check(Outcome("own"), build, CASE, 4.0)
    assert calls == ["check_basics", "check_shape", "check_shape"]


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


def test_a_product_is_counted_or_a_reason_given() -> None:
    try:
        build = build_gemm(version_source("naive"), "fp32", "naive")
    except CompilerError as missing:
        pytest.skip(str(missing))
    counts = count_product(build.path, Case(64, 64, 64, "fp32", 2))
    assert counts.events or counts.reasons
    if "instructions" in counts.events:  # a multiply-add is no less than one instruction here
        assert counts.events["instructions"] > 64**3 / 16


def test_a_library_that_ends_its_process_ends_no_other(tmp_path: Path) -> None:
    source = tmp_path / "crash.cpp"
    source.write_text(
        '#include <cstdlib>\n#include "gemm.h"\n'
        "void gemm(const Input*, const Input*, Output*, std::int64_t, std::int64_t,\n"
        "          std::int64_t, std::int64_t, std::int64_t, std::int64_t, int) {\n"
        "  std::abort();\n}\n"
    )
    try:
        build = build_gemm(source, "fp32", "own")
    except CompilerError as missing:
        pytest.skip(str(missing))
    with pytest.raises(UnsupportedError, match="did not get through"):
        count_product(build.path, Case(4, 4, 4, "fp32", 1))


def test_a_library_that_is_none_is_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "text.so"
    file.write_text("no library")
    counts = count_product(file, Case(4, 4, 4, "fp32", 1))
    assert "cannot be loaded" in counts.reasons["events"]
