"""Checks in a worker of its own: everything that a source can do wrong is caught and named."""

import re
from pathlib import Path

import pytest

from tests.gemm.own_sources import PACKING, RIGHT, WRONG, write_source
from topout.gemm.case import Case
from topout.gemm.checking import Checking
from topout.gemm.own_source import build_own
from topout.gemm.results import Outcome
from topout.gemm.worker_process import ProductWorker

CASE = Case(64, 48, 40, "fp32", 2)
TIMEOUT_S = 600.0


def outcome_of(folder: Path, text: str, timeout_s: float = TIMEOUT_S) -> Outcome:
    build = build_own(write_source(folder, text))
    outcome = Outcome("my_gemm.cpp")
    with ProductWorker("own", folder, CASE.threads) as worker:
        worker.call("load", TIMEOUT_S, build=build._asdict() | {"path": str(build.path)})
        Checking(worker, timeout_s).check(outcome, build, CASE, longest_s=4.0)
    return outcome


@pytest.mark.parametrize("text", [RIGHT, PACKING], ids=["plain", "packing"])
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
