"""The command line as tests call it: in this process, without torch."""

import sys

import pytest

from topout.cli import main


def run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["topout", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


def refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line with which a command is refused."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, out, err = run(arguments, monkeypatch, capsys)
    assert status == 2, (status, out, err)
    assert out == ""
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err, err
    return err
