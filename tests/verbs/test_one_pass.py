"""Encoders and image classifiers in `run`, `profile` and `climb`: one pass, and no decode."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny_passes import write_pass
from topout.errors import InputError, UnsupportedError
from topout.ladder.request import ClimbRequest
from topout.profiling.request import ProfileRequest
from topout.records import Climb, RunReport, read
from topout.report import describe
from topout.report.to_markdown import to_markdown
from topout.verbs.climb import climb
from topout.verbs.forecast_climb import forecast_climb
from topout.verbs.profile_model import profile_model
from topout.verbs.run_model import run_model
from topout.verbs.run_request import RunRequest

pytestmark = pytest.mark.seconds(60)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)


def model_of(folder: Path, name: str) -> str:
    write_pass(folder / name, name)
    return str(folder / name)


def test_a_run_of_an_encoder_is_one_pass(tmp_path: Path) -> None:
    model = model_of(tmp_path, "bert")
    report, folder = run_model(RunRequest(model=model, threads=1, prompt_len=12, repeats=2))
    assert report.workload.task == "forward" and report.workload.new_tokens == 0
    assert report.model.class_name == "BertModel" and report.backend == "transformers"
    own = report.result
    assert own.decode is None and len(own.samples) == 2
    assert own.prefill.tokens_per_s.median == pytest.approx(12 / own.prefill.time_s.median)
    # 2 blocks of Q, K, V, output and MLP for 12 tokens, attention, and the pooler's one token.
    products = 2 * (2 * 12 * (4 * 48 * 48 + 2 * 48 * 100) + 4 * 12 * 12 * 48) + 2 * 48 * 48
    assert own.prefill.flops == products
    assert read(folder.path / "run.json", RunReport) == report
    does, room = report.findings
    assert does.startswith("A pass does ") and "of room is left in forward" in room


def test_a_run_of_an_image_classifier_counts_images(tmp_path: Path) -> None:
    model = model_of(tmp_path, "resnet")
    request = RunRequest(model=model, threads=1, batch_size=3, image_size=32, repeats=2)
    report, _ = run_model(request)
    own = report.result
    assert (report.workload.image_size, report.workload.prompt_len) == (32, 0)
    assert own.prefill.tokens_per_s.median == pytest.approx(3 / own.prefill.time_s.median)
    shown = to_markdown(describe(report))
    assert "images/s" in shown and "one pass over an image of 32×32" in shown
    assert "decode" not in shown.lower()


def test_another_product_is_put_in_place_of_a_pass(tmp_path: Path) -> None:
    model = model_of(tmp_path, "bert")
    report, _ = run_model(RunRequest(model=model, threads=1, gemm="loop_order", repeats=2))
    gemm = report.gemm
    assert gemm is not None and gemm.passed and gemm.counts is not None
    assert gemm.counts.routed == 2 * 6 + 1 and gemm.decode_speedup is None
    assert gemm.prefill_speedup is not None
    assert any("a pass is" in finding for finding in report.findings)


def test_a_profile_has_one_phase(tmp_path: Path) -> None:
    model = model_of(tmp_path, "vit")
    report, _ = profile_model(ProfileRequest(model=model, threads=1, repeats=1))
    assert [phase.name for phase in report.phases] == ["forward"]
    assert report.phases[0].passes == 1
    names = {operator.name for operator in report.phases[0].operators}
    assert "aten::addmm" in names and any("conv" in name for name in names)


def test_a_climb_verifies_and_times_what_applies(tmp_path: Path) -> None:
    model = model_of(tmp_path, "bert_labels")
    told: list[str] = []
    request = ClimbRequest(
        model=model,
        threads=1,
        rungs=["trace", "native_linear_int8"],
        max_loss=9.0,  # a tiny model of random weights loses more than a trained one
        time_per_rung_s=0.5,
        quick=True,
    )
    record, folder = climb(request, announce=told.append)
    assert record.finished and read(folder.path / "run.json", Climb) == record
    assert [rung.name for rung in record.rungs] == [
        "transformers_eager",
        "trace",
        "native_linear_int8",
    ]
    for rung in record.rungs:
        assert rung.prefill is not None and rung.decode is None and rung.prediction is not None
        assert rung.prediction.decode is None
    trace, native = record.rungs[1:]
    assert trace.verification is not None and trace.verification.passed
    assert trace.verification.decided_positions is not None
    assert native.verification is not None and native.verification.kl_divergence is not None
    assert not any(each.about == "output" for rung in record.rungs for each in rung.doubts)
    assert "a pass in" in told[0] and "tokens/s" in told[0]
    if record.duel is not None:
        assert record.duel.decode_speedup is None


def test_a_dry_run_predicts_the_pass(tmp_path: Path) -> None:
    request = ClimbRequest(model=model_of(tmp_path, "vit"), threads=1, quick=True, dry_run=True)
    record, _ = forecast_climb(request)
    names = [rung.name for rung in record.rungs]
    assert names[:3] == ["transformers_eager", "trace", "compile"] and "static_cache" not in names
    assert all(rung.prediction is None or rung.prediction.decode is None for rung in record.rungs)
    shown = to_markdown(describe(record))
    assert "img/s" in shown and "Decode" not in shown


REFUSED: list[tuple[str, type, dict[str, Any], str]] = [
    ("bert", RunRequest, {"new_tokens": 5}, "generates nothing"),
    ("bert", RunRequest, {"prompt_len": 33}, "33 tokens do not fit into the 32 positions"),
    ("bert", RunRequest, {"image_size": 32}, "takes no images"),
    ("vit", RunRequest, {"prompt_len": 5}, "takes images"),
    ("bert", ProfileRequest, {"phase": "decode"}, "has no decode"),
    ("bert", ClimbRequest, {"rungs": ["static_cache"]}, "changes a generation alone"),
    ("bert", ClimbRequest, {"draft": "pycode-1m"}, "nothing to speculate on"),
]


@pytest.mark.parametrize(("name", "kind", "options", "message"), REFUSED)
def test_what_does_not_go_with_one_pass_is_refused(
    name: str, kind: type, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    request = kind(model=model_of(tmp_path, name), **options)
    verb = {RunRequest: run_model, ProfileRequest: profile_model, ClimbRequest: climb}[kind]
    with pytest.raises(InputError, match=message):
        verb(request)


def test_a_decoder_takes_neither_images_nor_their_rungs() -> None:
    with pytest.raises(InputError, match="takes no images"):
        run_model(RunRequest(model="pycode-1m", image_size=32))
    with pytest.raises(InputError, match="changes one pass alone"):
        climb(ClimbRequest(model="pycode-1m", rungs=["trace"]))


def test_what_neither_generates_nor_runs_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(UnsupportedError, match="'t5' is not supported"):
        run_model(RunRequest(model=str(tmp_path), random_weights=True))
