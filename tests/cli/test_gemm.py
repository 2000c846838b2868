"""`topout gemm` on the command line: options, exit codes, and the files that it writes."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import topout.verbs.compare_gemms
from tests.gemm import example_report as example
from topout.cli import main
from topout.errors import CompilerError
from topout.gemm.request import GemmRequest
from topout.gemm.sources import SourceError
from topout.kernels.build import find_compiler
from topout.records import GemmReport, read
from topout.run_folder import Interrupted, RunFolder

Asked = list[GemmRequest]


def run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["topout", "gemm", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """What the command line asked for; the answer is the example's."""
    requests: Asked = []

    def compare(request: GemmRequest, notify: Any = None) -> tuple[GemmReport, RunFolder]:
        request.check()
        request.chosen_threads(2)
        requests.append(request)
        return example.report(), RunFolder(tmp_path)

    monkeypatch.setattr(topout.verbs.compare_gemms, "compare_gemms", compare)
    return requests


def test_options_reach_the_request(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--shape 8x8x8 --shape 9x9x9 --model gpt2 --prompt-len 64 --batch-size 2 --sweep "
        "--dtype fp32,bf16 --dtype int8 --versions naive,bf16 --no-rivals --threads 1,2 "
        "--no-explain --quick"
    )
    status, out, err = run(options.split(), monkeypatch, capsys)
    assert status == 0
    assert asked == [
        GemmRequest(
            shapes=["8x8x8", "9x9x9"],
            model="gpt2",
            prompt_len=64,
            batch_size=2,
            sweep=True,
            dtypes=["fp32", "bf16", "int8"],
            versions=["naive", "bf16"],
            rivals=False,
            threads=[1, 2],
            explain=False,
            quick=True,
        )
    ]
    assert "prepacked" in out and "Page:" in err


def test_without_options_the_defaults(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([], monkeypatch, capsys)[0] == 0
    assert asked == [GemmRequest()]


def test_json_alone_on_standard_output(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(["--json", "-"], monkeypatch, capsys)
    assert status == 0
    assert json.loads(out)["kind"] == "gemm"


def test_files_go_where_they_were_asked(
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    page, record = tmp_path / "page.html", tmp_path / "gemm.json"
    status, _, err = run(["--report", str(page), "--json", str(record)], monkeypatch, capsys)
    assert status == 0 and str(page) in err
    assert page.read_text().startswith("<!doctype html>")
    assert (tmp_path / "report.html").is_file()
    assert read(record, GemmReport) == example.report()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--shape 8x8", "'8x8'"),
        ("--shape -8x8x8", "no shape"),
        ("--threads 1,two", "'two'"),
        ("--threads 99999999999", "99999999999"),
        ("--dtype fp64", "fp64"),
        ("--versions navie", "naive"),
        ("--versions bf16 --dtype fp32", "bf16"),
        ("--source nowhere.cpp", "nowhere.cpp"),
        ("--prompt-len 5", "--prompt-len"),
        ("--json nowhere/x.json", "nowhere"),
        ("--report nowhere/x.html", "nowhere"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    options: str,
    words: str,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(options.split(), monkeypatch, capsys)
    assert status == 2 and out == "" and asked == []
    assert err.count("\n") == 1 and err.startswith("topout: ") and words in err


def test_a_version_that_fails_its_check_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shape = example.shape()
    broken = example.failed("mine.cpp", "first C[0][1] = 5 where 4 is right")
    report = example.report(msgspec.structs.replace(shape, versions=[*shape.versions, broken]))
    monkeypatch.setattr(
        topout.verbs.compare_gemms,
        "compare_gemms",
        lambda request, notify=None: (report, RunFolder(tmp_path)),
    )
    status, out, _ = run([], monkeypatch, capsys)
    assert status == 1 and "first C[0][1] = 5" in out


def test_a_source_that_does_not_compile_ends_with_2_and_all_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(request: GemmRequest, notify: Any = None) -> None:
        raise SourceError("mine.cpp does not compile: no ;", "Mend it.", "line 1\nline 2\n")

    monkeypatch.setattr(topout.verbs.compare_gemms, "compare_gemms", refuse)
    status, out, err = run([], monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert err == "topout: mine.cpp does not compile: no ; Mend it.\nline 1\nline 2\n"


def test_a_real_source_that_does_not_compile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        find_compiler()
    except CompilerError:
        pytest.skip("there is no compiler, which is refused before the source")
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    source = tmp_path / "mine.cpp"
    source.write_text('#include "gemm.h"\nvoid gemm( {\n')
    status, _, err = run(["--source", str(source)], monkeypatch, capsys)
    assert status == 2
    assert "mine.cpp" in err.splitlines()[0] and "error" in err.splitlines()[0]
    assert len(err.splitlines()) > 1
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("some", [True, False])
def test_an_interruption_ends_with_130_and_shows_what_there_is(
    some: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    report = msgspec.structs.replace(example.report(), finished=False) if some else None
    path = tmp_path / "run"
    path.mkdir()

    def interrupt(request: GemmRequest, notify: Any = None) -> None:
        with RunFolder(path) as folder:
            if report is not None:
                folder.save(report)
            raise Interrupted(report, folder)

    monkeypatch.setattr(topout.verbs.compare_gemms, "compare_gemms", interrupt)
    status, out, err = run([], monkeypatch, capsys)
    assert status == 130 and "interrupted" in err
    assert ("prepacked" in out) is some and path.exists() is some


def test_init_writes_a_starting_point_and_never_over_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "mine.cpp"
    status, _, err = run(["--init", str(source)], monkeypatch, capsys)
    assert status == 0 and "--source" in err
    text = source.read_text()
    assert "void gemm(" in text
    source.write_text("mine")
    status, _, err = run(["--init", str(source)], monkeypatch, capsys)
    assert status == 2 and err.count("\n") == 1
    assert source.read_text() == "mine"
