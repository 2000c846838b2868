"""What is made of a rung that was tried, by hand."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.cost.small_config import SMALL
from tests.cost.test_predict import CEILINGS, RATES
from tests.generation.tiny_builds import workload
from topout.cost.predict import Context
from topout.ladder.predictions import Predictions
from topout.ladder.stack import Stack
from topout.ladder.verdict import Trial, judge, position_doubts, tried, untried, with_more_runs
from topout.measure.runner import Duel
from topout.measure.worker import FailureKind, WorkerFailure
from topout.records import Estimate, RungResult, RunSample, Verification
from topout.rungs.registry import BASELINE, find_rung

RIGHT = Verification(method="m", passed=True, reason="same", positions=1)
WRONG = Verification(method="m", passed=False, reason="a logit is off", positions=1)
CONTEXT = Context(workload=workload(prompt_len=6, new_tokens=4), ceilings=CEILINGS, rates=RATES)


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> Predictions:
    found = Predictions(SimpleNamespace(source=SimpleNamespace(config=SMALL)), CONTEXT)  # type: ignore[arg-type]
    expectation = found.expectation
    monkeypatch.setattr(
        found, "expectation", lambda stack: expectation(stack).replace(mode="plain")
    )
    return found


def runs(total_s: float, count: int = 7) -> list[RunSample]:
    one = RunSample(ttft_s=0.1 * total_s, total_s=total_s, new_tokens=4, forward_passes=3, at_s=0.0)
    return [one] * count


def trial(predictions: Predictions, names: list[str], **known: Any) -> Trial:
    """A rung on top of others, in a candidate of 100 bytes that took 2 s to prepare."""
    stack = Stack.of(names)
    candidate = SimpleNamespace(stack=stack, label=stack.label, weight_bytes=100, prepare_s=2.0)
    rung = find_rung(names[-1] if names else BASELINE)
    prediction = predictions.predict(stack, stack.below)
    return Trial(rung, candidate, prediction, **known)  # type: ignore[arg-type]


def result(predictions: Predictions, of: Trial, earlier: list[RungResult]) -> RungResult:
    return tried(of, judge(of), predictions, earlier)


# --- the verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rival_s", "status", "reason"),
    [
        (2.0, "kept", "2.00× [2.00, 2.00] as fast as transformers_eager."),
        (0.5, "rejected", "Slower than transformers_eager: 0.50× [0.50, 0.50]."),
        (1.0, "rejected", "No difference to transformers_eager: 1.00× [1.00, 1.00], under"),
    ],
)
def test_a_duel_decides(rival_s: float, status: str, reason: str, predictions: Predictions) -> None:
    duel = Duel(rival=runs(rival_s), candidate=runs(1.0))
    found = judge(
        trial(predictions, ["static_cache"], rival=BASELINE, verification=RIGHT, duel=duel)
    )
    assert found[0] == status and found[1].startswith(reason)


def test_a_wrong_output_is_not_timed(predictions: Predictions) -> None:
    of = trial(predictions, ["static_cache"], rival=BASELINE, verification=WRONG)
    assert judge(of) == ("rejected", "The output is not right: a logit is off.")
    found = result(predictions, of, [])
    assert (found.verification, found.weight_bytes, found.prepare_s) == (WRONG, 100, 2.0)
    assert found.rival is None and found.samples == [] and found.decode is None


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("memory", "was killed.", "Ran out of memory: it was killed."),
        ("error", "ValueError: no", "Failed: ValueError: no."),
        ("crash", "crashed with SIGSEGV", "It crashed with SIGSEGV."),
    ],
)
def test_a_failure_leaves_the_prediction_alone(
    kind: FailureKind, message: str, reason: str, predictions: Predictions
) -> None:
    duel = Duel(rival=runs(2.0), candidate=runs(1.0))
    failure = WorkerFailure(kind, message)
    of = trial(
        predictions,
        ["static_cache"],
        rival=BASELINE,
        verification=RIGHT,
        duel=duel,
        failure=failure,
    )
    found = result(predictions, of, [])
    assert (found.status, found.reason) == ("failed", reason)
    assert found.prediction == of.prediction and found.verification is None
    assert found.samples == [] and found.weight_bytes is None


# --- the result -------------------------------------------------------------------------------


def test_speedups_are_chained_over_the_rivals(predictions: Predictions) -> None:
    baseline = result(predictions, trial(predictions, [], samples=runs(4.0)), [])
    assert (baseline.status, baseline.name, baseline.on) == ("kept", BASELINE, [])
    assert baseline.speedup is None and baseline.speedup_over_baseline is not None
    assert baseline.speedup_over_baseline.median == 1.0
    cache = trial(
        predictions,
        ["static_cache"],
        rival=BASELINE,
        verification=RIGHT,
        duel=Duel(rival=runs(4.0), candidate=runs(2.0)),
    )
    first = result(predictions, cache, [baseline])
    on_cache = trial(
        predictions,
        ["static_cache", "bf16"],
        rival="static_cache",
        verification=RIGHT,
        duel=Duel(rival=runs(2.0), candidate=runs(0.5)),
    )
    second = result(predictions, on_cache, [baseline, first])
    assert second.speedup is not None and second.speedup.median == pytest.approx(4.0)
    # Twice the baseline, and four times that.
    for chained in (second.speedup_over_baseline, second.decode_speedup_over_baseline):
        assert isinstance(chained, Estimate) and chained.median == pytest.approx(8.0)
    assert (second.rival, second.on) == ("static_cache", ["static_cache"])
    assert second.ttft_s is not None and second.ttft_s.median == pytest.approx(0.05)
    # A token takes a third of what is left after the first: 0.45 / 3 s.
    assert second.decode is not None
    assert second.decode.time_s.median == pytest.approx(0.15)
    assert second.decode.predicted_time_s == on_cache.prediction.decode.time_s
    assert second.tokens_per_pass is None  # nothing speculates


def test_a_rival_that_is_not_known_chains_nothing(predictions: Predictions) -> None:
    duel = Duel(rival=runs(2.0), candidate=runs(1.0))
    of = trial(predictions, ["static_cache"], rival="gone", verification=RIGHT, duel=duel)
    found = result(predictions, of, [])
    assert found.speedup is not None and found.speedup_over_baseline is None


def test_runs_as_a_rival_count_for_the_baseline(predictions: Predictions) -> None:
    baseline = result(predictions, trial(predictions, [], samples=runs(4.0, 1)), [])
    assert baseline.doubts  # of one run
    more = with_more_runs(baseline, runs(2.0, 2), predictions)
    assert [each.total_s for each in more.samples] == [4.0, 2.0, 2.0]
    assert more.prefill is not None and more.prefill.time_s.median == pytest.approx(0.2)
    assert more.speedup_over_baseline == baseline.speedup_over_baseline
    assert msgspec.structs.replace(more, samples=[]).name == BASELINE


def test_a_rung_that_is_not_tried_has_no_figures() -> None:
    stack = Stack.of(["static_cache", "compile"])
    found = untried(find_rung("compile"), stack, "skipped", "No compiler.")
    assert (found.on, found.status, found.reason) == (["static_cache"], "skipped", "No compiler.")
    assert found.prediction is None and found.doubts == []


@pytest.mark.parametrize(
    ("decided", "doubted"), [(512, False), (511, True), (0, True), (None, True)]
)
def test_few_decided_positions_are_a_doubt(decided: int | None, doubted: bool) -> None:
    found = msgspec.structs.replace(RIGHT, decided_positions=decided)
    sentences = [each.sentence for each in position_doubts(found)]
    assert bool(sentences) == doubted
    if decided == 511:
        assert sentences == [
            "The output was compared on 511 decided positions, and 512 are wanted."
        ]


def test_a_near_rung_needs_no_decided_positions() -> None:
    assert position_doubts(msgspec.structs.replace(RIGHT, decode_divergence=0.0)) == []
    assert position_doubts(None) == []
