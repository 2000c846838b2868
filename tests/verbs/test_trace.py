"""`topout trace` as a function: files to records, folders, refusals, interruption."""

import gzip
import json
from pathlib import Path
from typing import Any, get_args

import pytest

import topout
import topout.verbs.trace as verb
from topout.errors import InputError
from topout.records import TraceDiff, TraceReport, read
from topout.trace.analysis.groups import load_rules, shipped_rules
from topout.trace.request import GroupDetail, RulesRequest

GEMM = "ampere_sgemm_128x64_tn"


def write_trace(
    path: Path, gemm_us: float = 400.0, rank: int | None = None, kernel: str = GEMM
) -> Path:
    """A launch at 0 µs; from 10 µs on a product, and a copy of 100 µs from 900 to 1000 µs."""
    launch = {"ph": "X", "cat": "cuda_runtime", "pid": 1, "tid": 1, "dur": 5}
    events: list[dict[str, Any]] = [
        launch | {"name": "cudaLaunchKernel", "ts": 0, "args": {"correlation": 1}},
        launch | {"name": "cudaMemcpyAsync", "ts": 500, "args": {"correlation": 2}},
        {
            "ph": "X", "cat": "kernel", "name": kernel, "pid": 0, "tid": 7, "ts": 10,
            "dur": gemm_us, "args": {"device": 0, "stream": 7, "correlation": 1},
        },
        {
            "ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "pid": 0,
            "tid": 7, "ts": 900, "dur": 100,
            "args": {"device": 0, "stream": 7, "correlation": 2, "bytes": 4096},
        },
    ]  # fmt: skip
    trace: dict[str, Any] = {"schemaVersion": 1, "baseTimeNanoseconds": 0, "traceEvents": events}
    if rank is not None:
        trace["distributedInfo"] = {"backend": "nccl", "rank": rank, "world_size": 2}
    text = json.dumps(trace).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return path


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where runs go."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_a_file_becomes_a_report_in_a_folder(tmp_path: Path, home: Path) -> None:
    path = write_trace(tmp_path / "one.json.gz")
    report, folder = topout.report_trace([path])
    device = report.ranks[0]
    # 400 µs of product and 100 µs of copy between 10 and 1000 µs.
    assert device.wall_s == pytest.approx(990e-6)
    assert device.busy_s == pytest.approx(500e-6)
    assert device.compute_s == pytest.approx(400e-6)
    assert device.memory_s == pytest.approx(100e-6)
    assert device.idle_s == pytest.approx(490e-6)
    assert report.elapsed_s > 0 and report.files == [str(path)]
    assert read(folder.path / "run.json", TraceReport) == report
    assert folder.path.parent == home and folder.path.name.endswith("-trace-one")
    assert not folder.scratch.exists()


def test_a_folder_of_ranks(tmp_path: Path) -> None:
    ranks = tmp_path / "ranks"
    ranks.mkdir()
    for rank in (1, 0):
        write_trace(ranks / f"{rank}.json", rank=rank)
    report, folder = topout.report_trace([ranks])
    assert [each.rank for each in report.ranks] == [0, 1]
    assert folder.path.name.endswith("-trace-ranks")


def test_progress_grows_from_reading_to_the_end(tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []
    path = write_trace(tmp_path / "one.json")
    topout.report_trace([path], notify=lambda what, done: said.append((what, done)))
    shares = [done for _, done in said]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
    assert any("one.json" in what for what, _ in said)


def test_coarse_groups_and_own_rules(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "one.json")
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\ngroup = "mine"\nnames = ["sgemm"]\n')

    def groups(**options: Any) -> set[str]:
        return {each.name for each in topout.report_trace([path], **options)[0].ranks[0].groups}

    assert groups() == {"matrix-mul", "memory"}
    assert groups(groups="coarse") == {"matrix-mul", "memory_mgmt"}
    assert groups(rules=own) == {"mine", "memory"}
    assert groups(rules=own, groups="coarse") == {"mine", "memory_mgmt"}


def test_rules_that_replace_the_shipped_ones_do_so_in_either_detail(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = false\n[[rule]]\ngroup = "mine"\nnames = ["sgemm"]\n')
    for groups in get_args(GroupDetail):
        chosen = verb.chosen_rules(RulesRequest(rules=own, groups=groups))
        assert [rule.group for rule in chosen.rules] == ["mine"]
    assert verb.chosen_rules(RulesRequest()) == load_rules()
    coarse = verb.chosen_rules(RulesRequest(groups="coarse"))
    assert coarse.rules == shipped_rules("coarse_groups").rules


def test_two_traces_are_compared(tmp_path: Path) -> None:
    before = write_trace(tmp_path / "a.json", 400.0)
    after = write_trace(tmp_path / "b.json", 600.0)
    diff, folder = topout.diff_traces(before, after)
    change = next(each for each in diff.groups if each.name == "matrix-mul")
    assert change.change_s == pytest.approx(200e-6) and change.ratio == pytest.approx(1.5)
    assert read(folder.path / "run.json", TraceDiff) == diff
    assert folder.path.name.endswith("-trace-diff-a-b")


def test_folders_are_compared_rank_by_rank(tmp_path: Path) -> None:
    for name, times in (("a", (400.0, 400.0)), ("b", (500.0, 800.0))):
        (tmp_path / name).mkdir()
        for rank, gemm_us in enumerate(times):
            write_trace(tmp_path / name / f"{rank}.json", gemm_us, rank=rank)
    diff, _ = topout.diff_traces(tmp_path / "a", tmp_path / "b")
    change = next(each for each in diff.kernels if each.name == GEMM)
    assert change.before_s == pytest.approx(400e-6)
    assert change.after_s == pytest.approx(650e-6)  # mean of 500 and 800
    assert change.ratio == pytest.approx(1.625)
    assert (diff.before, diff.after) == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_rank_without_a_counterpart_is_left_out_and_said(tmp_path: Path) -> None:
    for name, ranks in (("a", (0, 1)), ("b", (1,)), ("c", (5, 6))):
        (tmp_path / name).mkdir()
        for rank in ranks:
            write_trace(tmp_path / name / f"{rank}.json", 100.0 * (rank + 1), rank=rank)
    diff, _ = topout.diff_traces(tmp_path / "a", tmp_path / "b")
    assert "1 of 3 traces have no counterpart" in diff.reasons["ranks"]
    change = next(each for each in diff.kernels if each.name == GEMM)
    assert change.change_s == 0
    with pytest.raises(InputError, match="no rank in common"):
        topout.diff_traces(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([], "no trace is named"),
        (["missing.json"], "no file or folder"),
        (["bad.json"], "bad.json"),
    ],
)
def test_bad_input_leaves_no_folder(
    paths: list[str], words: str, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "bad.json").write_text("this is no trace")
    with pytest.raises(InputError, match=words):
        topout.report_trace([tmp_path / path for path in paths])
    assert not home.exists() or list(home.iterdir()) == []


def test_an_interruption_leaves_no_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "analyse", interrupt)
    with pytest.raises(KeyboardInterrupt):
        topout.report_trace([write_trace(tmp_path / "one.json")])
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("run.json.gz", "run"),
        ("worker0.1.pt.trace.json", "worker0.1"),
        ("sums.csv", "sums"),
        ("ranks", "ranks"),
    ],
)
def test_a_run_is_named_after_its_trace(name: str, subject: str) -> None:
    assert verb.subject_of(Path(name)) == subject


def test_names_with_markup_reach_the_page_as_text(tmp_path: Path) -> None:
    from topout.report import describe
    from topout.report.to_html import to_html

    evil = "<script>alert(1)</script>"
    report, _ = topout.report_trace([write_trace(tmp_path / "one.json", kernel=evil)])
    assert report.ranks[0].kernels[0].name == evil
    assert "<script>alert" not in to_html(describe(report))
