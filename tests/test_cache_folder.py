"""The cache lies where the environment says, and belongs to its user alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from topout.cache_folder import cache_folder, is_trusted, writable_cache_folder


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("TOPOUT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/topout")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/topout")
    monkeypatch.setenv("TOPOUT_CACHE", "~/mine")
    assert cache_folder() == Path("/home/someone/mine")


def test_the_folder_is_created_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "deep" / "cache"))
    folder = writable_cache_folder("kernels")
    assert folder == tmp_path / "deep" / "cache" / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_to_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    assert is_trusted(folder)
    folder.chmod(0o777)
    assert not is_trusted(folder)
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    assert writable_cache_folder("kernels") != folder


def test_a_cache_that_cannot_be_is_replaced_for_the_life_of_the_process(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code = (
        "from topout.cache_folder import writable_cache_folder\n"
        "folder = writable_cache_folder('kernels')\n"
        "assert folder == writable_cache_folder('kernels')\n"
        "(folder / 'a').write_text('')\n"
        "print(folder)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TOPOUT_CACHE": str(in_the_way), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    assert not folder.exists()
