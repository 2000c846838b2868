"""The ranks' lines put together, golden values counted by hand; and when a speedup is claimed."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.models.tiny import GPT2
from tests.train.test_plan import a_plan, a_step
from topout.errors import UnsupportedError
from topout.models.architecture import Head
from topout.records import Estimate, RankTime, TrainCase
from topout.train.plan import Line, RankDone, StepDone, SumComparison
from topout.train.results import (
    different_work,
    exposed_communication_s,
    finished_case,
    flops_per_sample,
    mean_loss,
    slowest,
    trained_architecture,
    unfinished_case,
    with_speedups,
)


def rank_end(digest: str = "same", **changes: Any) -> RankDone:
    fields: dict[str, Any] = {
        "host": "here",
        "device": "cpu",
        "backend": "gloo",
        "parameters": 100,
        "gradient_bytes": 400,
        "processor_utilization": 0.9,
        "memory_before_bytes": 300,
        "unprofiled_peak_bytes": 900,
        "peak_memory_bytes": 1000,
        "peak_device_bytes": None,
        "weights_digest": digest,
        "trace": "rank.json.gz",
    }
    return RankDone(**{**fields, **changes})


def rank_lines(total_s: float, loss: float, digest: str = "same") -> list[Line]:
    warm = a_step(0, phase="warmup", total_s=99.0, loss=loss + 1)
    timed = [StepDone(a_step(n, total_s=total_s, loss=loss)) for n in (1, 2, 3)]
    sums = [SumComparison(0.4, 0.3), SumComparison(0.5, 0.3), SumComparison(0.9, 0.3)]
    return [StepDone(warm), *timed, *sums, rank_end(digest)]


def case_of(*lines: list[Line]) -> TrainCase:
    plan = a_plan(batch_size=4, accumulation=2)
    return finished_case(
        plan, lines, sequence_len=10, flops_per_sample=5.0, trace_folder="traces/2-ranks"
    )


def test_the_slowest_rank_counts_and_warm_up_does_not() -> None:
    case = case_of(rank_lines(1.0, 2.0), rank_lines(2.0, 4.0))
    assert case.step_s == Estimate(median=2.0, low=2.0, high=2.0)
    assert case.wall_s == 6.0
    # 2 ranks × batch 4 × 2 accumulated = 16 samples in 2 s, 10 tokens and 5 FLOP each.
    assert case.samples_per_s is not None and case.samples_per_s.median == 8.0
    assert case.tokens_per_s is not None and case.tokens_per_s.median == 80.0
    assert case.flops_per_s == 40.0
    assert case.time_per_batch_s is not None and case.time_per_batch_s.median == 1.0
    assert case.loss == [4.0, 3.0, 3.0, 3.0]
    assert case.peak_memory_bytes == 2000 and case.gradient_bytes == 400


def test_every_field_of_a_finished_case() -> None:
    """No figure equals another; of what ranks should agree on, the first one's word counts."""
    parts = {"data_s": 0.125, "forward_s": 0.25, "backward_s": 0.5, "optimizer_s": 0.0625}
    warm = [a_step(0, phase="warmup", loss=5.0), a_step(0, phase="warmup", loss=7.0)]
    slow = [a_step(n, total_s=t, loss=3.0, **parts) for n, t in ((1, 1.0), (2, 4.0), (3, 16.0))]
    fast = [a_step(n, total_s=0.5, loss=2.0) for n in (1, 2, 3)]
    ends = [
        rank_end(peak_device_bytes=70),
        rank_end("other", backend="nccl", parameters=7, gradient_bytes=8, peak_memory_bytes=24),
    ]
    case = case_of(
        [StepDone(warm[0]), *map(StepDone, slow), SumComparison(0.75, 0.25), ends[0]],
        [StepDone(warm[1]), *map(StepDone, fast), SumComparison(0.5, 0.375), ends[1]],
    )
    first, second = case.times
    assert first == RankTime(
        rank=0,
        host="here",
        device="cpu",
        step_s=7.0,  # (1 + 4 + 16) / 3
        **parts,
        other_s=6.0625,  # 7 - 0.125 - 0.25 - 0.5 - 0.0625
        exposed_communication_s=0.5,  # 0.75 - 0.25
        processor_utilization=0.9,
        memory_before_bytes=300,
        unprofiled_peak_bytes=900,
        peak_memory_bytes=1000,
        peak_device_bytes=70,
        trace="traces/2-ranks/rank.json.gz",
    )
    assert (second.rank, second.step_s, second.exposed_communication_s) == (1, 0.5, 0.125)
    # Of 1, 4 and 16 s the median is 4, and of three drawn again anything from 1 to 16.
    assert case == TrainCase(
        ranks=2,
        backend="gloo",
        status="done",
        times=[first, second],
        steps=[[warm[0], *slow], [warm[1], *fast]],
        wall_s=21.0,
        step_s=Estimate(median=4.0, low=1.0, high=16.0),
        time_per_batch_s=Estimate(median=2.0, low=0.5, high=8.0),  # 2 micro-batches a step
        samples_per_s=Estimate(median=4.0, low=1.0, high=16.0),  # 2 ranks x 4 x 2 = 16 a step
        tokens_per_s=Estimate(median=40.0, low=10.0, high=160.0),  # of 10 positions
        flops_per_sample=5.0,
        flops_per_s=20.0,  # 4 x 5
        loss=[6.0, 2.5, 2.5, 2.5],
        backward_without_sum_s=[0.25],
        peak_memory_bytes=1024,
        weights_agree=False,
        parameters=100,
        gradient_bytes=400,
        trace_folder="traces/2-ranks",
    )


def test_what_one_rank_alone_does_not_have() -> None:
    """It sums no gradients over ranks; and without a count of FLOPs there is no rate of them."""
    case = finished_case(
        a_plan(), [rank_lines(1.0, 2.0)], sequence_len=1, flops_per_sample=None, trace_folder=None
    )
    assert (case.weights_agree, case.gradient_bytes, case.flops_per_s) == (None, None, None)


@pytest.mark.parametrize(("folder", "trace"), [(None, "rank.json.gz"), ("traces", None)])
def test_without_a_trace_a_rank_says_why(folder: str | None, trace: str | None) -> None:
    lines = [*rank_lines(1.0, 2.0)[:-1], rank_end(trace=trace)]
    case = finished_case(
        a_plan(), [lines], sequence_len=1, flops_per_sample=1.0, trace_folder=folder
    )
    assert case.times[0].trace is None
    assert case.times[0].reasons == {"trace": "no step was profiled"}


def test_ranks_that_timed_other_numbers_of_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        slowest([[a_step(1), a_step(2)], [a_step(1)]])


def test_the_parts_of_a_step_sum_to_it() -> None:
    (time,) = case_of(rank_lines(1.0, 2.0)).times
    # 1.0 − (0.1 + 0.2 + 0.4 + 0.2)
    assert time.other_s == pytest.approx(0.1)
    parts = time.data_s + time.forward_s + time.backward_s + time.optimizer_s + time.other_s
    assert parts == pytest.approx(time.step_s)
    assert time.trace == "traces/2-ranks/rank.json.gz"


def test_exposed_communication_is_the_median_of_the_pairs_and_never_negative() -> None:
    assert exposed_communication_s(rank_lines(1.0, 2.0)) == pytest.approx(0.2)
    assert exposed_communication_s([SumComparison(0.1, 0.3)]) == 0.0
    assert exposed_communication_s([rank_end()]) is None


def test_ranks_with_other_weights_are_noticed() -> None:
    assert case_of(rank_lines(1, 1), rank_lines(1, 1)).weights_agree is True
    assert case_of(rank_lines(1, 1), rank_lines(1, 1, digest="other")).weights_agree is False
    assert case_of(rank_lines(1, 1)).weights_agree is None


def test_a_case_that_failed_keeps_the_steps_that_were_done() -> None:
    first, second = a_step(0), a_step(1)
    lines: list[list[Line]] = [[StepDone(first), StepDone(second)], [StepDone(first)]]
    assert unfinished_case(2, lines, "failed", "rank 1 crashed.", "logs/rank-1.log") == TrainCase(
        ranks=2,
        status="failed",
        reason="rank 1 crashed.",
        log="logs/rank-1.log",
        steps=[[first, second], [first]],
        loss=[1.5],
    )
    assert slowest([]) == [] and mean_loss([]) == []


def figure(median: float) -> Estimate:
    return Estimate(median=median, low=0.9 * median, high=1.1 * median)


def done(ranks: int, samples_per_s: float, **changes: Any) -> TrainCase:
    case = TrainCase(
        ranks=ranks,
        status="done",
        samples_per_s=figure(samples_per_s),
        tokens_per_s=figure(10 * samples_per_s),
        flops_per_sample=1e9,
    )
    return replace(case, **changes)


def test_speedup_and_efficiency_are_of_samples_per_second() -> None:
    alone, two = with_speedups([done(1, 100.0), done(2, 150.0)])
    assert alone.speedup is None and "speedup" not in alone.reasons
    assert two.speedup is not None and two.speedup.median == pytest.approx(1.5)
    assert two.speedup.low < 1.5 < two.speedup.high
    assert two.parallel_efficiency == pytest.approx(0.75)


def test_four_ranks_by_hand() -> None:
    # 300 samples/s over 100: 3 times, three quarters of 4. Both lie within -10 and +10 %, and the
    # inverse of the one within -1/11 and +1/9: down and up by √(ln²0.9 + ln²1.1) = 0.14208.
    _, four = with_speedups([done(1, 100.0), done(4, 300.0)])
    assert four.speedup is not None
    assert four.speedup.median == pytest.approx(3.0)
    assert four.speedup.low == pytest.approx(2.6026, abs=1e-4)
    assert four.speedup.high == pytest.approx(3.4580, abs=1e-4)
    assert four.parallel_efficiency == pytest.approx(0.75)
    assert four.reasons == {}


def test_a_reason_that_no_longer_holds_goes_and_others_stay() -> None:
    other = done(4, 300.0, reasons={"speedup": "an old one", "loss": "kept"})
    _, four = with_speedups([done(1, 100.0), other])
    assert four.reasons == {"loss": "kept"} and four.speedup is not None
    (failed,) = with_speedups([done(4, 300.0, status="failed", reasons={"speedup": "old"})])
    assert failed.reasons == {} and failed.speedup is None
    # The case of one rank failed: nothing can be compared with it.
    _, alone = with_speedups([done(1, 1.0, status="failed"), done(3, 300.0)])
    assert alone.reasons == {"speedup": "The case with 1 rank is not done."}
    (no_rival,) = with_speedups([done(3, 300.0)])
    assert no_rival.reasons == {
        "speedup": "No case ran with one rank; ask for one with --ranks 1,2."
    }
    assert no_rival.parallel_efficiency is None


def test_the_case_of_one_rank_may_come_last() -> None:
    first = with_speedups([done(2, 150.0)])
    assert "one rank" in first[0].reasons["speedup"]
    two, _ = with_speedups([*first, done(1, 100.0)])
    assert two.speedup is not None and "speedup" not in two.reasons


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "failed"}, "The case with 2 ranks is not done."),
        ({"flops_per_sample": 1.02e9}, "do not compute the same"),
        ({"flops_per_sample": None}, "do not compute the same"),
        ({"tokens_per_s": figure(1600.0)}, "not of the same length"),
        ({"tokens_per_s": None}, "not of the same length"),
    ],
)
def test_no_speedup_where_the_work_is_not_the_same(changes: dict[str, Any], why: str) -> None:
    other = done(2, 150.0, **changes)
    assert why in (different_work(done(1, 100.0), other) or "")
    _, two = with_speedups([done(1, 100.0), other])
    assert two.speedup is None and two.parallel_efficiency is None


def test_the_same_work_is_the_same() -> None:
    assert different_work(done(1, 100.0), done(4, 390.0, flops_per_sample=1.001e9)) is None


BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def test_products_of_a_language_model_cost_three_forward_passes() -> None:
    shape = {"task": "lm", "labels": 0, "sequence_len": 16, "samples": 4, "parameters": 1000}
    found = flops_per_sample(dict(GPT2), "tiny", **shape)  # type: ignore[arg-type]
    # 3 layers of width 48, MLP 192, vocabulary 211; 16 positions, 2 FLOPs a multiply-add.
    linear = 2 * 16 * (3 * (48 * 144 + 48 * 48 + 2 * 48 * 192) + 48 * 211)
    pairs = 16 * 17 // 2
    attention = 3 * 4 * pairs * 48
    products = 3 * linear + 3.5 * attention
    # One FLOP per element read, and two in backward: 7 norms and the sum of two embeddings of
    # 16·48, 6 sums of two of them, 3 activations of 16·192.
    elementwise = 3 * (16 * 48 * (7 + 1 + 12) + 3 * 16 * 192)
    # AdamW: 12 FLOPs a parameter, shared by 4 samples.
    assert found == products + elementwise + 12 * 1000 / 4


def test_a_classifier_has_no_language_head() -> None:
    shape = {"labels": 4, "sequence_len": 16, "samples": 4, "parameters": 1000}
    classifier = flops_per_sample(dict(GPT2), "tiny", task="classify", **shape)  # type: ignore[arg-type]
    language = flops_per_sample(dict(GPT2), "tiny", task="lm", **shape)  # type: ignore[arg-type]
    head = 3 * 2 * 16 * 48 * 211
    assert language - classifier == pytest.approx(head - 3 * 2 * 48 * 4)
    architecture = trained_architecture(dict(GPT2), "tiny", "classify", 4)
    assert architecture.name == "tiny"
    assert architecture.heads == [
        Head(name="classifier", inputs=48, outputs=4, bias=False, per="sequence")
    ]


def test_an_encoder_gets_the_head_of_its_classifier() -> None:
    """As many outputs as the task has labels, whatever the checkpoint's own classifier had."""
    stored = {**BERT, "id2label": {"0": "no", "1": "yes"}}
    architecture = trained_architecture(stored, "bert", "classify", 3)
    assert architecture.name == "bert"
    assert architecture.counted_as == "BertForSequenceClassification"
    assert [(head.name, head.outputs) for head in architecture.heads] == [
        ("pooler", 32),
        ("classifier", 3),
    ]


def test_a_family_that_is_not_counted_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="my-model"):
        trained_architecture({"model_type": "mamba"}, "my-model", "lm", 0)
    shape = {"labels": 4, "sequence_len": 16, "samples": 4, "parameters": 1000}
    with pytest.raises(UnsupportedError, match="my-model"):
        flops_per_sample({"model_type": "mamba"}, "my-model", task="lm", **shape)  # type: ignore[arg-type]
