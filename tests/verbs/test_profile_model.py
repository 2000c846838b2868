"""`profile_model`: both phases of a model, in a worker process."""

from pathlib import Path
from typing import Any

import pytest

from topout.errors import InputError, OutputError
from topout.profiling.request import ProfileRequest
from topout.records import ProfileReport, read
from topout.verbs.profile_model import profile_model

pytestmark = pytest.mark.seconds(30)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)


def request(**changes: Any) -> ProfileRequest:
    options = {
        "model": "pycode-1m",
        "prompt_len": 12,
        "new_tokens": 4,
        "threads": 1,
        "repeats": 1,
    }
    return ProfileRequest(**(options | changes))


def test_both_phases_are_accounted_for_and_written(tmp_path: Path) -> None:
    told: list[str] = []
    report, folder = profile_model(
        request(perfetto=tmp_path / "trace.json.gz"),
        notify=lambda what, done: told.append(what),
    )
    assert [(phase.name, phase.passes) for phase in report.phases] == [
        ("prefill", 1),
        ("decode", 3),
    ]
    layers = report.model.layers if report.model is not None else 0
    for phase in report.phases:
        assert phase.accounted_s == pytest.approx(phase.traced_s)
        assert phase.traced_s < phase.wall_s, phase.name  # by how much, a busy machine decides
        assert sum(row.self_s for row in phase.operators) == pytest.approx(phase.operators_s)
        assert sum(part.self_s for part in phase.parts) == pytest.approx(phase.traced_s)
        up = next(part for part in phase.parts if part.name == "mlp.up")
        assert up.calls == layers * phase.passes
        assert phase.uncounted == []
        assert all(rate.of_bandwidth_ceiling is not None for rate in phase.rates)
        assert phase.timeline[0].name == phase.timeline_pass
    assert read(folder.path / "run.json", ProfileReport) == report
    assert (folder.path / "trace.json.gz").is_file() and (tmp_path / "trace.json.gz").is_file()
    assert not folder.scratch.exists() and any("pair 1 of 1" in what for what in told)
    work_is_that_of_the_model(report)


def work_is_that_of_the_model(report: ProfileReport) -> None:
    """FLOPs of the products of the decoded tokens: 2 for each weight of every matrix."""
    decode = report.phases[1]
    products = sum(rate.flops for rate in decode.rates if rate.family == "product")
    assert report.model is not None
    width, layers = report.model.width, report.model.layers
    up = next(rate for rate in decode.rates if rate.part == "mlp.up" and rate.family == "product")
    assert up.flops == 3 * layers * 2 * width * 4 * width
    whole = layers * 12 * width * width + width * report.model.vocab_size
    assert products == 3 * 2 * whole


def test_one_phase_alone() -> None:
    report, _ = profile_model(request(phase="decode"))
    assert [phase.name for phase in report.phases] == ["decode"]
    assert request(phase="prefill").run_tokens == 1


def test_the_model_of_transformers_is_profiled_as_well() -> None:
    report, _ = profile_model(request(backend="transformers"))
    assert [(phase.name, phase.passes) for phase in report.phases] == [
        ("prefill", 1),
        ("decode", 3),
    ]
    assert all(phase.accounted_s == pytest.approx(phase.traced_s) for phase in report.phases)
    assert any(part.name == "attn.c_attn" for part in report.phases[1].parts)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend": "llama.cpp"}, r"--backend 'llama\.cpp' is not known"),
        ({"phase": "training"}, "--phase 'training' is not known"),
        ({"repeats": 0}, "--repeats 0"),
        ({"new_tokens": 1}, "--new-tokens 1"),
        ({"new_tokens": 100_000}, "--new-tokens 100000 is out of range"),
        ({"threads": 10_000}, "--threads 10000"),
        ({"prompt_len": 10_000_000}, "do not fit"),
    ],
)
def test_bad_input_is_named_before_anything_is_made(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        profile_model(request(**changes))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["perfetto", "tensorboard"])
def test_a_missing_folder_is_named_before_anything_is_made(option: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"cannot write {option} "):
        profile_model(request(**{option: tmp_path / "no" / "such" / "place"}))


def test_a_crash_of_the_worker_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("topout.profiling.worker.WORKER_MODULE", "topout.no_such_worker")
    with pytest.raises(InputError, match="pycode-1m ended with exit status"):
        profile_model(request())
