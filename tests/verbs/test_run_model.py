"""`run_model`: what it measures, what it verifies, and what a bad product does to it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.report.run.example_run import example_run
from topout.errors import CompilerError, InputError, UnknownNameError
from topout.records import PairedRatio, RunReport, read
from topout.verbs.run_model import ceiling_doubts, run_findings, run_model
from topout.verbs.run_request import RunRequest
from topout.verbs.run_worker import LONG_S, FixedPairs

from .example_sources import own_source

pytestmark = pytest.mark.seconds(30)

LAYERS_AND_HEAD = 4  # products of a layer (fused QKV, projection, MLP up and down)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)


def request(**changes: Any) -> RunRequest:
    options = {
        "model": "pycode-1m",
        "prompt_len": 12,
        "new_tokens": 4,
        "threads": 1,
        "repeats": 1,
    }
    return RunRequest(**(options | changes))


def test_a_run_is_timed_placed_and_written() -> None:
    told: list[str] = []
    report, folder = run_model(request(repeats=2), notify=lambda what, done: told.append(what))
    own = report.result
    assert report.gemm is None and len(own.samples) == 2
    assert own.prefill.tokens_per_s.median == pytest.approx(12 / own.prefill.time_s.median)
    assert own.prefill.mfu_of_ceiling == pytest.approx(
        own.prefill.flops / own.prefill.time_s.median / 1e11
    )
    assert own.decode.time_s.median > 0 and own.peak_memory_bytes
    assert report.weight_bytes > 3e6 and len(report.findings) == 4
    assert read(folder.path / "run.json", RunReport) == report
    assert folder.path.name.endswith("-run-pycode-1m") and not folder.scratch.exists()
    assert any("run 2 of 2" in what for what in told)


def test_a_version_in_place_is_verified_counted_and_compared() -> None:
    report, _ = run_model(request(gemm="loop_order", repeats=2))
    gemm = report.gemm
    assert gemm is not None and gemm.passed and gemm.result is not None
    assert gemm.counts is not None and gemm.speedup is not None
    assert gemm.counts.new_tokens == 4 and not gemm.counts.copied
    per_pass = LAYERS_AND_HEAD * report.model.layers + 1
    assert gemm.counts.routed == 4 * per_pass
    # Pairs that a busy machine disturbs are repeated, and at last all of them are used.
    assert len(gemm.speedup.pairs) == len(gemm.result.samples) >= 2
    assert gemm.verification is not None and gemm.verification.token_agreement == 1.0
    assert any("through loop_order" in finding for finding in report.findings)


def test_the_model_of_transformers_is_routed_as_well() -> None:
    report, _ = run_model(request(gemm="tiled", backend="transformers"))
    assert report.gemm is not None and report.gemm.passed
    assert report.gemm.counts is not None and report.gemm.counts.routed > 0


def test_a_bf16_version_runs_the_model_in_bf16() -> None:
    report, _ = run_model(request(gemm="bf16"))
    assert report.workload.dtype == "bf16"
    assert report.gemm is not None and report.gemm.passed, report.gemm
    assert report.gemm.counts is not None and report.gemm.counts.routed > 0


def test_a_wrong_product_is_found_and_has_no_speed(tmp_path: Path) -> None:
    report, _ = run_model(request(gemm=str(own_source(tmp_path, "wrong"))))
    gemm = report.gemm
    assert gemm is not None and not gemm.passed
    assert gemm.result is None and gemm.speedup is None
    assert gemm.reason is not None and "not right" in gemm.reason
    assert len(report.result.samples) == 1


def test_a_crash_ends_the_product_and_not_the_run(tmp_path: Path) -> None:
    report, _ = run_model(request(gemm=str(own_source(tmp_path, "crashing"))))
    gemm = report.gemm
    assert gemm is not None and not gemm.passed and gemm.result is None
    assert gemm.reason is not None and "SIGSEGV" in gemm.reason
    assert len(report.result.samples) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gemm": "int8"}, "int8"),
        ({"gemm": "no/such.cpp"}, "no file"),
        ({"gemm": "bf16", "dtype": "fp32"}, "--dtype bf16"),
        ({"gemm": "tiled", "dtype": "bf16"}, "--dtype fp32"),
        ({"backend": "llama.cpp"}, "--backend 'llama.cpp' is not known"),
        ({"repeats": 0}, "--repeats 0"),
        ({"new_tokens": 1}, "--new-tokens 1"),
        ({"threads": 10_000}, "--threads 10000"),
        ({"prompt_len": 10_000_000}, "do not fit"),
    ],
)
def test_bad_input_is_named_before_anything_is_made(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        run_model(request(**changes))
    assert not (tmp_path / "runs").exists()


def test_the_nearest_version_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="tiled"):
        run_model(request(gemm="tilde"))


def test_a_source_that_does_not_compile_is_refused_with_the_compilers_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(CompilerError, match="error"):
        run_model(request(gemm=str(own_source(tmp_path, "unreadable"))))
    assert not (tmp_path / "runs").exists()


def test_pairs_end_early_only_where_they_take_long() -> None:
    def ratio(count: int) -> PairedRatio:
        return PairedRatio(median=1.0, low=1.0, high=1.0, pairs=[1.0] * count)

    rule = FixedPairs(pairs=5)
    assert not rule.enough(ratio(4), 1.0) and rule.enough(ratio(5), 1.0)
    assert not rule.enough(ratio(1), 2 * LONG_S) and rule.enough(ratio(2), 2 * LONG_S)


def test_a_phase_above_its_ceiling_doubts_that_and_has_no_bound() -> None:
    calm = example_run()
    assert ceiling_doubts(calm) == []
    decode = msgspec.structs.replace(calm.result.decode, mbu_of_ceiling=1.04)
    result = msgspec.structs.replace(calm.result, decode=decode)
    report = msgspec.structs.replace(calm, result=result)
    (doubt,) = ceiling_doubts(report)
    assert doubt.sentence.startswith("Decode of pytorch reaches ")
    assert "above the bandwidth ceiling of" in doubt.sentence
    prefill_said, decode_said, *rooms = run_findings(report)
    assert len(rooms) == 1 and "left in prefill" in rooms[0] and "topout climb" in rooms[0]
    assert ">100 % of the" in decode_said
    assert decode_said.endswith("what bounds it is not known until the ceiling is measured again.")
    assert "not known" not in prefill_said
