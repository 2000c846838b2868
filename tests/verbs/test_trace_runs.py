"""`topout trace runs` as a function: published sums in nvprof files, to a record in a folder."""

from pathlib import Path

import pytest

import topout
from tests.trace.readers.nvprof_files import GROUPS, published_ns, write_published_run
from topout.errors import InputError
from topout.records import TraceRuns, read

from .test_trace import write_trace


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where runs go."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs-of-topout"))
    return tmp_path / "runs-of-topout"


def _files(workload: str, folder: Path) -> list[Path]:
    """Runs on 4, 1 and 2 devices: the order given is not that of devices."""
    return [
        write_published_run(folder / f"{workload}-{devices}.csv", workload, devices, events=40)
        for devices in (4, 1, 2)
    ]


def _said(found: TraceRuns, words: str) -> str:
    (sentence,) = [each for each in found.findings if words in each]
    return sentence


@pytest.mark.parametrize("groups", ["fine", "coarse"])
def test_bert_communicates_more_and_one_device_works_half(tmp_path: Path, groups: str) -> None:
    found, folder = topout.compare_runs(_files("bert", tmp_path), groups=groups)  # type: ignore[arg-type]
    assert [(run.name, run.devices) for run in found.runs] == [
        ("bert-1", 1),
        ("bert-2", 2),
        ("bert-4", 4),
    ]
    said = _said(found, "Communication and copies take")
    assert "1.8 % on 1 device, 5.8 % on 2 devices, 37.8 % on 4 devices" in said
    assert [round(run.moving_share, 3) for run in found.runs] == [0.018, 0.058, 0.378]
    half = _said(found, "the matrix-mul work")
    assert half.startswith("Device 2 of the run on 4 devices does about half")
    # 1628175 ms alone, 837047 ms of the device of four that takes longest.
    assert found.runs[2].speedup == pytest.approx(1.945, abs=0.001)
    assert found.runs[2].by_device[2].matrix_ratio == pytest.approx(0.525, abs=0.002)
    assert read(folder.path / "run.json", TraceRuns) == found
    assert folder.path.name.endswith("-trace-runs-bert-4-bert-2")


def test_no_speedup_of_distilgpt2_is_claimed(tmp_path: Path) -> None:
    found, _ = topout.compare_runs(_files("distilgpt2", tmp_path), groups="coarse")
    for pair in ("from 1 to 2 devices", "from 1 to 4 devices"):
        said = _said(found, pair)
        assert said.startswith(f"No speedup is claimed {pair}: the runs do not hold the same work")
    assert [run.speedup for run in found.runs] == [None, None, None]
    assert all("efficiency" in run.reasons for run in found.runs)
    for run in found.runs:
        for each, sums in zip(run.ranks, published_ns("distilgpt2", run.devices), strict=True):
            times = {group.name: group.total_s * 1e9 for group in each.groups}
            assert {name: round(times[name]) for name in GROUPS} == sums


def test_a_folder_of_ranks_is_one_run(tmp_path: Path) -> None:
    ranks = tmp_path / "ranks"
    ranks.mkdir()
    for rank in (0, 1):
        write_trace(ranks / f"{rank}.json", 200.0, rank=rank)
    found, _ = topout.compare_runs([write_trace(tmp_path / "one.json", 400.0), ranks])
    assert [(run.name, run.devices) for run in found.runs] == [("one", 1), ("ranks", 2)]
    assert found.runs[1].work_ratio == pytest.approx(1.0)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_trace(tmp_path / name / "trace.json"))
    found, _ = topout.compare_runs(paths)
    assert {run.name for run in found.runs} == {"a-trace", "b-trace"}


def test_progress_never_goes_back(tmp_path: Path) -> None:
    said: list[float] = []
    paths = [write_trace(tmp_path / f"{name}.json") for name in "ab"]
    topout.compare_runs(paths, notify=lambda what, done: said.append(done))
    assert said and said == sorted(said) and said[-1] <= 1


def test_bad_input_leaves_no_folder(tmp_path: Path, home: Path) -> None:
    one = write_trace(tmp_path / "one.json")
    bad = tmp_path / "bad.json"
    bad.write_text("no trace")
    for paths, words in (
        ([], "two runs or more, and 0 are named"),
        ([one], "two runs or more"),
        ([one, one], "named twice"),
        ([one, tmp_path / "missing"], "no file or folder"),
        ([one, bad], "bad.json"),
    ):
        with pytest.raises(InputError, match=words):
            topout.compare_runs(paths)
    assert not home.exists() or list(home.iterdir()) == []
