"""`topout generate` as a user types it."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import refused, run
from tests.winner.climb_folders import BEST_EXACT, climb_folder
from topout.records import GenerateReport, decode

pytestmark = pytest.mark.seconds(30)

PROMPT = "def fibonacci(n):\n"
SHORT = ["--max-new-tokens", "12"]


@pytest.fixture
def expected() -> str:
    from topout.verbs.load import load

    with load("bundled") as model:
        return model.generate(PROMPT, max_new_tokens=12).text


def test_the_text_alone_is_on_standard_output(
    expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(["generate", "bundled", PROMPT, *SHORT], monkeypatch, capsys)
    assert status == 0 and out == expected + "\n"
    assert err.startswith("topout: 12 tokens, as many as asked for. Prefill ")
    assert "decode " in err and err.rstrip().endswith("pycode-7m, static_cache.")
    arguments = ["generate", "bundled", PROMPT, *SHORT, "--quiet"]
    assert run(arguments, monkeypatch, capsys) == (0, expected + "\n", "")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_prompt_from_standard_input(
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((PROMPT + "\n").encode())))
    status, out, _ = run(["generate", "bundled", *arguments, *SHORT], monkeypatch, capsys)
    assert (status, out) == (0, expected + "\n")


def test_the_winner_of_a_climb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(climb_folder(tmp_path / "climb", topout_version="0.0.1"))
    arguments = ["generate", folder, PROMPT, "--exact", *SHORT]
    status, out, err = run(arguments, monkeypatch, capsys)
    assert status == 0 and out
    doubt, speed = err.splitlines()
    assert doubt.startswith("topout: It was climbed with topout 0.0.1")
    assert speed.endswith(f"pycode-7m, {BEST_EXACT}.")


def test_a_record_of_it(
    tmp_path: Path,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "text.json"
    arguments = ["generate", "bundled", PROMPT, *SHORT, "--stop", "\n\n", "--json", str(file)]
    status, out, _ = run(arguments, monkeypatch, capsys)
    record = decode(file.read_bytes(), GenerateReport)
    assert status == 0 and out == record.text + "\n" == expected + "\n"
    assert record.stack == "static_cache" and record.prompt == PROMPT
    assert record.finish == "length" and len(record.token_ids) == 12 and record.stop == ["\n\n"]
    assert record.prefill_s and record.decode_s and record.tokens_per_pass == 1.0
    assert record.prefill_tokens_per_s == record.prompt_tokens / record.prefill_s
    assert record.decode_tokens_per_s == 11 / record.decode_s
    status, out, _ = run([*arguments[:-2], "--json", "-"], monkeypatch, capsys)
    assert status == 0 and json.loads(out)["text"] == expected
    status, out, _ = run([*arguments[:-2], "--format", "csv"], monkeypatch, capsys)
    assert status == 0 and "decode_tokens_per_s" in out.splitlines()[0]
    status, out, _ = run([*arguments[:-2], "--format", "markdown"], monkeypatch, capsys)
    assert status == 0 and "### Text" in out


def test_one_token_has_no_decode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "bundled", PROMPT, "--max-new-tokens", "1", "--json", "-"]
    record = decode(run(arguments, monkeypatch, capsys)[1], GenerateReport)
    assert record.decode_s is None and "decode_s" in record.reasons


def test_seeds_reproduce(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def text(*more: str) -> str:
        return run(
            ["generate", "bundled", PROMPT, *SHORT, "--temperature", "1", *more],
            monkeypatch,
            capsys,
        )[1]

    assert text("--seed", "3") == text("--seed", "3") != text("--seed", "4")
    assert text("--top-k", "1") == text("--top-p", "0.0001") == text("--temperature", "0")


def test_random_weights_are_labelled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "distilgpt2", "x", "--random-weights", "--max-new-tokens", "2"]
    status, _, err = run(arguments, monkeypatch, capsys)
    assert status == 0
    assert "has random weights: the speed is real, the text is meaningless" in err.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bundled", ""], "the prompt is empty"),
        (["bundled", "word " * 600], "and the context of pycode-7m is 512"),
        (["bundled", "x", "--max-new-tokens", "0"], "--max-new-tokens 0 is out of range"),
        (["bundled", "x", "--top-p", "2"], "--top-p 2.0 is out of range"),
        (["bundled", "x", "--stack", "static_cach"], "unknown rung 'static_cach'"),
        (["bundled", "x", "--exact"], "--exact is of a climb"),
        (["nothing-like-it", "x"], "unknown model"),
        (["bundled", "x", "y"], "takes [MODEL_OR_CLIMB] [TEXT]"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["topout", "generate", *arguments])
    status, out, err = run(["generate", *arguments], monkeypatch, capsys)
    assert status == 2 and said in err and len(err.splitlines()) == 1 and out == ""


def test_input_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert "not UTF-8 text (byte 2)" in refused(["generate", "bundled"], monkeypatch, capsys)


def test_nothing_of_the_text_is_obeyed_by_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file gets the text as it is."""
    from topout.cli.generate import _show

    evil = "a\x1b[2J\x07\tb\r\nc\rd\u202ee"
    _show(evil)
    assert capsys.readouterr().out == evil
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _show(evil)
    assert capsys.readouterr().out == "a\ufffd[2J\ufffd    b\nc\ufffdd\ufffde"


PROGRAM = """
import itertools, sys
from topout.generation import stream
from topout.cli import main

real = stream.stream_tokens
def endless(session, prompt, capacity, sampling):
    yield from itertools.islice(real(session, prompt, capacity, sampling), 3)
    print("READY", file=sys.stderr, flush=True)
    import time
    time.sleep(600)

import topout.winner.loaded as loaded
loaded.stream_tokens = endless
loaded._WARM_UP_PASSES = 2
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_has_come(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    """In the middle of the fourth token, on a terminal and with a record."""
    file = tmp_path / "text.json"
    terminal, inner = pty.openpty()
    arguments = ["generate", "bundled", PROMPT, "--json", str(file)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=inner,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(inner)
    assert process.stderr is not None
    try:
        said = ""
        while "READY" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        time.sleep(0.1)  # it sleeps; were it still printing, the signal would do the same
        process.send_signal(number)
        _, after = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, after
    assert "3 tokens, interrupted." in after and "Traceback" not in after
    record: Any = json.loads(file.read_text())
    assert record["finish"] == "interrupted" and len(record["token_ids"]) == 3
    shown = os.read(terminal, 10_000).decode().replace("\r\n", "\n")
    assert shown == record["text"] + "\n"
