"""A rank notes its failure, and the launcher takes the note."""

from pathlib import Path

import pytest

from topout.launch.agent import NOTES_VARIABLE, note_failure, take_notes


def test_a_note_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTES_VARIABLE, str(tmp_path))
    for rank in (2, 0):
        monkeypatch.setenv("RANK", str(rank))
        note_failure()
    noted = take_notes(tmp_path, 3)
    assert set(noted) == {0, 2} and noted[2] <= noted[0]
    assert take_notes(tmp_path, 3) == {} and list(tmp_path.iterdir()) == []


def test_a_rank_that_nobody_watches_notes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NOTES_VARIABLE, raising=False)
    note_failure()
