"""Sentences with the figures behind them."""

from typing import Any

import msgspec
import pytest

from tests.report.example_climb import example_climb
from topout.ladder.findings import climb_ceiling_doubts, climb_findings
from topout.records import Bound, Climb, Estimate, Interval, PhaseResult, RungResult, Status


def steady(value: float) -> Estimate:
    return Estimate(median=value, low=value, high=value)


def phase(bound: Bound, time_s: float = 0.02, **changes: Any) -> PhaseResult:
    """100 MB at 10 GB/s: 10 ms; 200 MFLOP at 100 GFLOP/s: 2 ms."""
    result = PhaseResult(
        tokens_per_s=steady(1 / time_s),
        time_s=steady(time_s),
        flops=2e8,
        bytes=1e8,
        arithmetic_intensity=2.0,
        mfu_of_ceiling=2e-3 / time_s,
        mbu_of_ceiling=1e-2 / time_s,
        bound=bound,
        ceiling_flops_per_s=1e11,
        ceiling_bytes_per_s=1e10,
    )
    return msgspec.structs.replace(result, **changes)


def rung(name: str, on: list[str], status: Status = "kept", **changes: Any) -> RungResult:
    result = RungResult(
        name=name,
        on=on,
        status=status,
        reason="",
        change="",
        output_class="exact",
        prefill=phase("compute", 0.5),
        decode=phase("memory"),
    )
    return msgspec.structs.replace(result, **changes)


def climb(*rungs: RungResult, best: str | None = None) -> Climb:
    return msgspec.structs.replace(
        example_climb(), baseline="transformers_eager", rungs=list(rungs), best=best
    )


BASELINE = rung("transformers_eager", [])


def test_a_baseline_bound_by_memory() -> None:
    decode, prefill = climb_findings(climb(BASELINE, best="transformers_eager"))
    assert decode == (
        "Decode of the baseline is memory-bound: a token takes 20.0 ms, of which 10.0 ms are "
        "needed to read 100 MB at the 10.0 GB/s that were measured (MBU 50 %)."
    )
    # 2e8 FLOPs in 0.5 s are 400 MFLOP/s; 2 ms of 500 ms.
    assert prefill == (
        "Prefill of the baseline is compute-bound: 400 MFLOP/s are 0 % of what this machine "
        "reaches in that type."
    )


def test_a_baseline_bound_by_overhead() -> None:
    eager = msgspec.structs.replace(BASELINE, decode=phase("overhead", 0.04), prefill=None)
    (finding,) = climb_findings(climb(eager))
    assert "is overhead-bound: 30.0 ms of 40.0 ms per token" in finding
    assert "MBU 25 %" in finding


def test_a_baseline_bound_by_arithmetic() -> None:
    busy = msgspec.structs.replace(
        BASELINE, decode=phase("compute", 0.004, mbu_of_ceiling=0.5), prefill=None
    )
    (finding,) = climb_findings(climb(busy))
    assert "is compute-bound: a token takes 4.00 ms at 50 % of the measured FLOP/s" in finding


def test_the_best_rung_and_the_room_that_it_leaves() -> None:
    best = rung("compile", ["static_cache"], decode=phase("memory", 0.0125))
    findings = climb_findings(climb(BASELINE, best, best="static_cache + compile"))
    assert any(
        finding.startswith(
            "Decode of static_cache + compile is memory-bound: a token takes 12.5 ms"
        )
        for finding in findings
    )
    # The slower of 10 ms for the bytes and 2 ms for the FLOPs; 12.5 / 10 = 1.25.
    assert findings[0] == (
        "At the measured ceilings a token of static_cache + compile would take 10.0 ms: 1.25× of "
        "room is left in decode. What helps is fewer bytes a token: weights in fewer bits, or more "
        "sequences at a time that share them."
    )


def undecided(name: str, predicted: float, verdict: str = "not proven") -> RungResult:
    """A rung that its pairs did not decide, or that they did."""
    other = rung(name, ["static_cache"], "rejected", rival="static_cache")
    speedup = next(each.speedup for each in example_climb().rungs if each.speedup is not None)
    judged = msgspec.structs.replace(speedup, verdict=verdict)
    return msgspec.structs.replace(other, speedup=judged, predicted_speedup=predicted)


def test_what_can_still_be_gained_stands_first_the_largest_gain_first() -> None:
    best = rung("compile", ["static_cache"], decode=phase("memory", 0.0125))  # room: 1.25×
    rungs = [
        undecided("small", 1.10),
        undecided("large", 1.55),
        undecided("slower", 3.00, verdict="slower"),
        undecided("no_gain", 1.04),
    ]
    findings = climb_findings(climb(BASELINE, best, *rungs, best="static_cache + compile"))
    assert findings[0] == (
        "static_cache + large is predicted to be 1.55× as fast as static_cache, and its pairs did "
        "not prove it: climb again with a longer --time-per-rung."
    )
    assert "1.25× of room" in findings[1]
    assert findings[2].startswith("static_cache + small is predicted to be 1.10×")
    assert not any("slower is" in finding or "no_gain is" in finding for finding in findings)
    assert findings[3].startswith("Decode of static_cache + compile")


def test_near_equal_findings_become_one() -> None:
    yields = {"speculate_lookup": 1.73, "speculate_draft": 2.18, "speculate_more": 1.5}
    speculations = [
        rung(name, ["static_cache"], "rejected", tokens_per_pass=each)
        for name, each in yields.items()
    ]
    findings = climb_findings(climb(BASELINE, *speculations, best="transformers_eager"))
    assert [finding for finding in findings if "tokens per pass" in finding] == [
        "3 stacks that speculate yield 1.50 to 2.18 tokens per pass of the model, static_cache + "
        "speculate_draft the most."
    ]


def test_predictions_far_off_are_one_finding_with_the_farthest() -> None:
    """20 ms were measured: 2× and 5× the predicted, and a tenth."""
    kept = [
        rung(name, [], decode=phase("memory", predicted_time_s=predicted_s))
        for name, predicted_s in (("twice", 0.01), ("five_times", 0.004), ("a_tenth", 0.2))
    ]
    findings = climb_findings(climb(BASELINE, *kept))
    assert [finding for finding in findings if "what was predicted" in finding] == [
        "Decode of a_tenth takes 0.100× what was predicted, and 2 other phases too: the cost model "
        "misses something there."
    ]


def test_what_a_speculation_yields() -> None:
    speculation = rung("speculate_lookup", ["static_cache"], "rejected", tokens_per_pass=1.7321)
    findings = climb_findings(climb(BASELINE, speculation, best="transformers_eager"))
    assert "static_cache + speculate_lookup yields 1.73 tokens per pass of the model." in findings


@pytest.mark.parametrize(
    ("predicted_s", "mentioned"),
    [(0.02, False), (0.0121, False), (0.0119, True), (0.033, False), (0.034, True)],
)
def test_a_prediction_far_off_is_told(predicted_s: float, mentioned: bool) -> None:
    """Beyond a factor of 5/3 either way; 20 ms were measured."""
    baseline = msgspec.structs.replace(
        BASELINE, decode=phase("memory", predicted_time_s=predicted_s)
    )
    found = [f for f in climb_findings(climb(baseline)) if "what was predicted" in f]
    assert bool(found) == mentioned
    if mentioned:
        assert found[0].startswith("Decode of transformers_eager takes ")


def test_how_often_a_measurement_lay_inside_is_told() -> None:
    """20 ms were measured: 25 % below 25 ms, 20 % above 16 ms … in two of three intervals."""

    def predicted(time_s: float, low: float, high: float) -> PhaseResult:
        interval = Interval(low=low, high=high)
        return phase("memory", predicted_time_s=time_s, predicted_interval=interval)

    baseline = msgspec.structs.replace(
        BASELINE, prefill=predicted(0.025, 0.020, 0.030), decode=predicted(0.018, 0.015, 0.0199)
    )
    rejected = rung("bf16", [], "rejected", decode=predicted(0.016, 0.012, 0.021))
    findings = climb_findings(climb(baseline, rejected, best="transformers_eager"))
    assert (
        "Predicted times are off by 20 % in the median; 2 of 3 measured phases lie inside their "
        "predicted interval." in findings
    )


def test_a_rejected_rungs_prediction_is_not_told() -> None:
    far_off = phase("memory", predicted_time_s=1.0)
    rejected = rung("bf16", [], "rejected", decode=far_off)
    findings = climb_findings(climb(BASELINE, rejected, best="transformers_eager"))
    assert not any("what was predicted" in finding for finding in findings)


def test_without_a_baseline_nothing_was_found() -> None:
    assert climb_findings(climb()) == []
    unmeasured = msgspec.structs.replace(BASELINE, decode=None, prefill=None)
    assert climb_findings(climb(unmeasured)) == []


def test_without_ceilings_there_are_still_sentences() -> None:
    blind = phase("memory", ceiling_flops_per_s=None, mfu_of_ceiling=None)
    baseline = msgspec.structs.replace(BASELINE, decode=blind, prefill=blind)
    findings = climb_findings(climb(baseline))
    assert len(findings) == 2 and "None" not in " ".join(findings)


def test_the_findings_of_a_whole_climb_are_sentences() -> None:
    for finding in climb_findings(example_climb()):
        assert finding.endswith(".") and "None" not in finding and "nan" not in finding


def test_nothing_follows_from_a_ceiling_that_was_exceeded() -> None:
    """100 MB in 5 ms are 20 GB/s where 10 GB/s were measured; 200 MFLOP in 1 ms are 200 GFLOP/s."""
    above = phase("memory", 0.005)
    baseline = msgspec.structs.replace(BASELINE, prefill=phase("compute", 0.001))
    best = rung("compile", [], decode=above)
    found = climb_findings(climb(baseline, best, best="compile"))
    assert found == [
        "Decode of compile reads 20.0 GB/s, above the ceiling of 10.0 GB/s: what bounds it, and "
        "what room is left, is not known until that is measured again.",
        found[1],
        "Prefill of the baseline reads 100 GB/s, above the ceiling of 10.0 GB/s: what bounds it, "
        "and what room is left, is not known until that is measured again.",
    ]
    few_bytes = phase("compute", 0.001, mbu_of_ceiling=0.5)
    (arithmetic,) = climb_findings(
        climb(msgspec.structs.replace(BASELINE, decode=few_bytes, prefill=None))
    )
    assert arithmetic.startswith(
        "Decode of the baseline computes 200 GFLOP/s, above the ceiling of 100 GFLOP/s"
    )


def test_ceilings_that_rungs_are_above_are_doubted_once_each() -> None:
    above = rung("compile", [], decode=phase("memory", 0.005), prefill=None)
    more = rung("bf16", [], decode=phase("memory", 0.004), prefill=None)
    (doubt,) = climb_ceiling_doubts(climb(BASELINE, above, more))
    assert doubt.sentence == (
        "Decode of bf16 reaches 25.0 GB/s, above the bandwidth ceiling of 10.0 GB/s, and 1 more "
        "above theirs: the ceiling was measured too low."
    )
    assert climb_ceiling_doubts(climb(BASELINE)) == []
    assert climb_ceiling_doubts(climb()) == []


def test_a_bandwidth_that_was_read_again_is_told() -> None:
    again = phase("memory", ceiling_bytes_per_s=3e10, ceiling_read_again=True)
    (doubt,) = climb_ceiling_doubts(climb(rung("compile", [], decode=again, prefill=None)))
    assert doubt.sentence.endswith(
        "The rate that was read between the runs, 30.0 GB/s, stands in its place for 1 phase."
    )
