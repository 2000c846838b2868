"""A session in a process of its own, as its parent sees it."""

from pathlib import Path

import pytest

from topout.generation.session_process import worker_environment


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
