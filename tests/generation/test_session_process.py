"""A session in a process of its own, as its parent sees it."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from topout.generation import session_process
from topout.generation.session_process import SessionProcess, worker_environment

RUN: dict[str, Any] = {
    "ttft_s": 0.1,
    "total_s": 1.0,
    "new_tokens": 8,
    "forward_passes": 7,
    "processor_s": 1.0,
}


def test_a_worker_has_its_threads_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    found = worker_environment(3)
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "3"
    assert found["HF_HUB_OFFLINE"] == "1"
    assert Path(found["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert worker_environment(3)["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


def test_a_run_during_which_the_machine_slept_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = iter([{**RUN, "total_s": 9.0}, RUN, RUN])
    slept_s = iter([0.0, 30.0, 30.0, 30.0, 30.0, 30.0])  # the machine sleeps in the first run
    monkeypatch.setattr(session_process, "suspended_s", lambda: next(slept_s))
    monkeypatch.setattr(SessionProcess, "_new_worker", lambda _: None)
    monkeypatch.setattr(SessionProcess, "call", lambda *_, **__: next(replies))
    process = SessionProcess("none", tmp_path / "log", 1, 1.0)
    assert process.run(0, 8, 0.0).total_s == RUN["total_s"]
    assert process.run(0, 8, 0.0).total_s == RUN["total_s"]
    assert next(slept_s, None) is None and next(replies, None) is None


def test_a_machine_that_sleeps_in_every_run_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(session_process, "suspended_s", lambda: next(clock))
    monkeypatch.setattr(SessionProcess, "_new_worker", lambda _: None)
    monkeypatch.setattr(SessionProcess, "call", lambda *_, **__: RUN)
    process = SessionProcess("none", tmp_path / "log", 1, 1.0)
    assert process.run(0, 8, 0.0).total_s == RUN["total_s"]
    assert next(clock) == 100.0  # five runs, two readings each
