"""`topout trace` on the command line: options, exit codes, and the files that it writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import topout.verbs.trace
from tests.trace.analysis import example_trace_report as example
from topout.cli import main
from topout.errors import InputError
from topout.records import TraceDiff, TraceReport, TraceRuns, read
from topout.run_folder import RunFolder
from topout.trace.analysis.runs import runs_side_by_side
from topout.trace.request import DiffRequest, RunsRequest, TraceRequest

Asked = list[tuple[str, Any]]


def run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["topout", "trace", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """What the command line asked for; the answers are the examples'."""
    calls: Asked = []

    def report(request: TraceRequest, **_: Any) -> tuple[TraceReport, RunFolder]:
        calls.append(("report", request))
        return example.gpus_report(), RunFolder(tmp_path)

    def diff(request: DiffRequest, **_: Any) -> tuple[TraceDiff, RunFolder]:
        calls.append(("diff", request))
        return example.diff_report(), RunFolder(tmp_path)

    def runs(request: RunsRequest, **_: Any) -> tuple[TraceRuns, RunFolder]:
        calls.append(("runs", request))
        named = [(path, example.gpus_report(n)) for n, path in enumerate(request.paths, 1)]
        return runs_side_by_side(named), RunFolder(tmp_path)

    monkeypatch.setattr(topout.verbs.trace, "report_trace", report)
    monkeypatch.setattr(topout.verbs.trace, "diff_traces", diff)
    monkeypatch.setattr(topout.verbs.trace, "compare_runs", runs)
    return calls


def test_files_and_options_reach_the_verb(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["a.json", "b/", "--rules", "mine.toml", "--groups", "coarse", "--top", "2"]
    status, out, err = run(arguments, monkeypatch, capsys)
    assert status == 0
    request = TraceRequest(paths=["a.json", "b/"], rules=Path("mine.toml"), groups="coarse")
    assert asked == [("report", request)]
    assert "3 more in --json" in out and "Where the time goes" in out
    assert "Page: " in err and "report.html" in err


def test_defaults(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["a.json"], monkeypatch, capsys)
    assert asked == [("report", TraceRequest(paths=["a.json"], rules=None, groups="fine"))]


@pytest.mark.parametrize("arguments", [["diff", "a", "b"], ["--top", "3", "diff", "a", "b"]])
def test_diff_compares_two(
    arguments: list[str],
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = run(arguments, monkeypatch, capsys)
    assert status == 0
    assert asked == [("diff", DiffRequest(before="a", after="b"))]
    assert "A step takes 90.0 ms" in out


@pytest.mark.parametrize("name", ["./diff", "folder/diff", "/tmp/diff", "diff.json"])
def test_a_file_named_diff_is_reached_by_its_path(
    name: str, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, _ = run([name], monkeypatch, capsys)
    assert status == 0
    assert asked == [("report", TraceRequest(paths=[name]))]


def test_a_file_named_diff_can_be_compared_too(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["diff", "diff", "b"], monkeypatch, capsys)
    assert asked == [("diff", DiffRequest(before="diff", after="b"))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("diff", "takes BEFORE AFTER, and 0 are named"),
        ("diff a", "1 is named"),
        ("diff a b c", "3 are named"),
        ("runs", "two runs or more, and 0 are named"),
        ("runs a", "1 is named"),
        ("a.json --top 0", "--top 0"),
        ("a.json --json nowhere/x.json", "nowhere"),
        ("a.json --report nowhere/x.html", "nowhere"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: str,
    words: str,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(arguments.split(), monkeypatch, capsys)
    assert (status, out, asked) == (2, "", [])
    assert err.count("\n") == 1 and err.startswith("topout: ") and words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "no trace is named"),
        ("missing.json", "there is no file or folder 'missing.json'"),
        ("missing.json --groups tiny", "--groups 'tiny'"),
        ("missing.json --rules nowhere.toml", "nowhere.toml"),
        ("diff missing.json other.json", "missing.json"),
        ("./diff", "topout trace diff BEFORE AFTER"),
        ("./runs", "topout trace runs RUN RUN"),
        ("runs missing.json other.json", "missing.json"),
    ],
)
def test_what_the_verb_refuses_leaves_no_folder(
    arguments: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(arguments.split(), monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and words in err
    assert list(tmp_path.iterdir()) == []


def test_json_alone_on_standard_output(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(["a.json", "--json", "-"], monkeypatch, capsys)
    assert json.loads(out)["kind"] == "trace"
    _, out, _ = run(["diff", "a", "b", "--json", "-"], monkeypatch, capsys)
    assert json.loads(out)["kind"] == "trace-diff"


def test_files_are_written_where_they_are_to_go(
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    page, data = tmp_path / "page.html", tmp_path / "data.json"
    _, _, err = run(["a", "--json", str(data), "--report", str(page)], monkeypatch, capsys)
    assert read(data, TraceReport) == example.gpus_report()
    assert page.read_text().startswith("<!doctype html>") and str(page) in err
    run(["diff", "a", "b", "--json", str(data), "--report", str(page)], monkeypatch, capsys)
    assert read(data, TraceDiff) == example.diff_report()
    assert "What got slower?" in page.read_text()


@pytest.mark.parametrize(("fault", "status"), [(KeyboardInterrupt(), 130), (InputError("no."), 2)])
def test_an_interruption_and_a_fault_end_without_a_table(
    fault: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*paths: Any, **options: Any) -> None:
        raise fault

    monkeypatch.setattr(topout.verbs.trace, "report_trace", fail)
    ended, out, err = run(["a.json"], monkeypatch, capsys)
    assert (ended, out) == (status, "") and err.count("\n") <= 1


def test_help_imports_neither_polars_nor_numpy_nor_torch() -> None:
    code = (
        "import sys; sys.argv = ['topout', 'trace', '--help']\n"
        "from topout.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'polars', 'altair', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "diff  What got slower" in done.stdout


def test_runs_are_compared(
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    page, data = tmp_path / "page.html", tmp_path / "data.json"
    files = ["--json", str(data), "--report", str(page)]
    options = ["--rules", "mine.toml", "--groups", "coarse"]
    status, out, err = run(["runs", "a", "b", "runs", *files, *options], monkeypatch, capsys)
    assert status == 0
    request = RunsRequest(paths=["a", "b", "runs"], rules=Path("mine.toml"), groups="coarse")
    assert asked == [("runs", request)]
    assert "Speedup" in out and str(page) in err
    assert [each.name for each in read(data, TraceRuns).runs] == ["a", "b", "runs"]
    assert "Does it scale" in page.read_text()
    _, out, _ = run(["runs", "a", "b", "--json", "-"], monkeypatch, capsys)
    assert json.loads(out)["kind"] == "trace-runs"


@pytest.mark.parametrize("name", ["./runs", "folder/runs"])
def test_a_file_named_runs_is_reached_by_its_path(
    name: str, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run([name], monkeypatch, capsys)
    assert asked == [("report", TraceRequest(paths=[name]))]
