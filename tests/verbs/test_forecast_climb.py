"""A ladder that is predicted and not run."""

import json
from pathlib import Path
from typing import Any

import pytest

import topout
from tests.cli.command_line import run
from tests.models.small_models import write_model
from topout.errors import InputError
from topout.generation.session_process import SessionProcess
from topout.ladder.ceiling_rates import AT_THE_CEILINGS
from topout.ladder.request import ClimbRequest
from topout.ladder.stack import label_of
from topout.records import ClimbForecast, read
from topout.verbs.forecast_climb import forecast_climb

TEXT = str(Path(__file__).parent.parent.parent / "LICENSE")


@pytest.fixture(autouse=True)
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings and rates are on file; whoever starts a worker fails."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))

    def refuse(*_: object) -> None:
        raise AssertionError("a dry run starts no worker")

    monkeypatch.setattr(SessionProcess, "__init__", refuse)


def request(tmp_path: Path, **changes: Any) -> ClimbRequest:
    fields: dict[str, Any] = {
        "model": str(write_model(tmp_path / "model")),
        "prompt_len": 24,
        "new_tokens": 12,
        "threads": 1,
        "text": [TEXT],
        "rungs": ["static_cache", "speculate_lookup", "speculate_draft", "bf16"],
        "dry_run": True,
    }
    return ClimbRequest(**(fields | changes))


def check_ladder(record: ClimbForecast) -> None:
    """What holds of every predicted ladder."""
    baseline, *others = record.rungs
    assert baseline.helps and baseline.speedup_over_baseline == 1.0 and baseline.prediction
    best, best_s = "transformers_eager", baseline.prediction.total_s
    for rung in others:
        if rung.prediction is None:
            assert not rung.helps and rung.reason
            continue
        assert rung.rival == best
        assert rung.prediction.speedup == pytest.approx(best_s / rung.prediction.total_s)
        assert rung.helps == (rung.prediction.total_s < best_s)
        over = baseline.prediction.total_s / rung.prediction.total_s
        assert rung.speedup_over_baseline == pytest.approx(over)
        if rung.helps:
            best, best_s = label_of([*rung.on, rung.name]), rung.prediction.total_s
    assert record.best == best


def test_rungs_that_are_expected_to_help_carry_the_next(tmp_path: Path) -> None:
    record, folder = forecast_climb(request(tmp_path))
    check_ladder(record)
    by_name = {each.name: each for each in record.rungs}
    assert by_name["static_cache"].helps  # it saves the copies of the cache
    no_draft = by_name["speculate_draft"]
    assert no_draft.prediction is None and "draft" in no_draft.reason
    lookup = by_name["speculate_lookup"].prediction
    assert lookup is not None
    assert lookup.assumptions[0].endswith("tokens per pass, as on the held-out text")
    assert read(folder.path / "run.json", ClimbForecast) == record
    assert topout.ClimbForecast is ClimbForecast


def test_quick_predicts_from_the_ceilings(tmp_path: Path) -> None:
    """Rungs without rates on file are predicted all the same; a doubt says what is left out."""
    record, _ = forecast_climb(request(tmp_path, quick=True, rungs=None))
    check_ladder(record)
    assert AT_THE_CEILINGS in record.doubts
    decode = next(each for each in record.rungs if each.name == "static_cache").prediction
    assert decode is not None and decode.decode.overhead_s == 0


def test_the_command_shows_the_ladder_and_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_model(tmp_path / "model"))
    line = ["climb", model, "--dry-run", "--prompt-len", "24", "--new-tokens", "12"]
    line += ["--threads", "1", "--text", TEXT, "--rungs", "static_cache,speculate_draft"]
    status, shown, _ = run([*line, "--json", str(tmp_path / "out.json")], monkeypatch, capsys)
    assert status == 0
    assert "Predicted, not run: static_cache is expected at" in " ".join(shown.split())
    assert "No draft model" in shown  # why a rung has no figures
    assert json.loads((tmp_path / "out.json").read_text())["kind"] == "climb-forecast"
    status, shown, _ = run([*line, "--format", "csv"], monkeypatch, capsys)
    assert shown.splitlines()[0].startswith("name,") and len(shown.splitlines()) == 4


def test_a_dry_run_is_no_climb(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="forecast_climb"):
        topout.climb(request(tmp_path))


def test_what_cannot_be_climbed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="context"):
        forecast_climb(request(tmp_path, prompt_len=100_000))
    assert not (tmp_path / "runs").exists()
