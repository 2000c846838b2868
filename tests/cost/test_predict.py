"""Predicted times, computed by hand from ceilings and rates with round figures."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.cost.measured_times import linear_efficiency, roofline_time
from topout.cost.predict import (
    Context,
    Expectation,
    predict,
    predict_decode,
    predict_prefill,
)
from topout.records import (
    AttentionRate,
    BandwidthCeiling,
    Ceilings,
    ComputeCeiling,
    Dtype,
    LinearRate,
    ModeOverhead,
    PhasePrediction,
    Rates,
    WorkloadSummary,
)

from .small_config import SMALL, small

PLAIN = Expectation(mode="plain")


def linear_rate(kernel: str, rows: int, working_set: int, efficiency: float) -> LinearRate:
    return LinearRate(
        kernel=kernel,
        rows=rows,
        matrix_elements=1,
        working_set_bytes=working_set,
        efficiency=efficiency,
        flops_per_s=1.0,
    )


def bandwidth(size: int, rate: float) -> BandwidthCeiling:
    return BandwidthCeiling(
        level="DRAM",
        threads=1,
        page="huge",
        working_set_bytes=size,
        bytes_per_s=rate,
        samples=[rate],
    )


def compute(dtype: Dtype, rate: float) -> ComputeCeiling:
    return ComputeCeiling(
        dtype=dtype, threads=1, instruction="fma", flops_per_s=rate, samples=[rate]
    )


CEILINGS = Ceilings(
    host_key="k",
    device="cpu",
    measured_at="2026-01-01T00:00:00+00:00",
    elapsed_s=1.0,
    quick=False,
    compute=[compute("fp32", 1e6), compute("bf16", 4e6)],
    bandwidth=[bandwidth(10**6, 1e4)],
)
RATES = Rates(
    host_key="k",
    versions="v",
    device="cpu",
    threads=1,
    architecture="gpt2",
    linear=[
        linear_rate("linear_fp32", 1, 1000, 0.5),
        linear_rate("linear_bf16", 1, 1000, 0.25),
        linear_rate("linear_int8", 1, 1000, 0.2),
        linear_rate("gemv_fp32", 1, 1000, 1.0),
    ],
    attention=[
        AttentionRate(dtype="fp32", prefill_flops_per_s=1e4, decode_bytes_per_s=1e3),
        AttentionRate(dtype="bf16", prefill_flops_per_s=2e4, decode_bytes_per_s=4e3),
    ],
    elementwise_bytes_per_s=1e3,
    modes=[
        ModeOverhead(
            mode="plain",
            prefill_fixed_s=2.0,
            prefill_per_layer_s=1.0,
            decode_fixed_s=0.5,
            decode_per_layer_s=0.25,
        ),
        ModeOverhead(
            mode="free",
            prefill_fixed_s=0.0,
            prefill_per_layer_s=0.0,
            decode_fixed_s=0.0,
            decode_per_layer_s=0.0,
        ),
    ],
    speculation_pass_s=0.1,
)
WORKLOAD = WorkloadSummary(
    task="generate",
    prompt_len=6,
    new_tokens=4,
    batch_size=1,
    threads=1,
    device="cpu",
    dtype="fp32",
    temperature=0.0,
)


def context(ceilings: Ceilings = CEILINGS, **workload: Any) -> Context:
    return Context(
        workload=msgspec.structs.replace(WORKLOAD, **workload), ceilings=ceilings, rates=RATES
    )


def decode_s(expectation: Expectation = PLAIN, where: Context | None = None) -> float:
    return predict_decode(SMALL, expectation, where or context()).time_s


# --- by hand ----------------------------------------------------------------------------------


def test_one_token() -> None:
    found = predict_decode(SMALL, PLAIN, context())
    # Linear: 3400 weights · 4 B at 1e4 B/s and efficiency 0.5: 2.72 s; their 6800 FLOPs at 1e6
    # FLOP/s would take 0.0136 s and are hidden.
    # Attention: half-way 6 + 2 = 8 positions of 2·2·10 elements are read and one is written,
    # 1440 B at 1e3 B/s: 1.44 s. Elementwise: 5 norms of 2·10, 4 sums of 3·10 and 2 activations of
    # 2·40 elements, and two rows of 10 embedded to one: 410·4 B at 1e3 B/s: 1.64 s.
    # Overhead: 0.5 + 2 layers · 0.25 = 1.0 s.
    assert found.memory_s == pytest.approx(2.72 + 1.44 + 1.64)
    assert found.compute_s == 0.0
    assert found.overhead_s == pytest.approx(1.0)
    assert found.time_s == pytest.approx(6.80)
    # At a fast pace 1.2 times the bandwidth and 0.7 of the overhead, at a slow one 0.8 and 1.4.
    assert found.interval is not None
    assert found.interval.low == pytest.approx(5.80 / 1.2 + 0.7)
    assert found.interval.high == pytest.approx(5.80 / 0.8 + 1.4)
    assert found.bound == "memory"
    # 6800 of the products, 2 layers · 8 keys · 4·10 of attention; of what is elementwise one per
    # element read, 5·10 + 4·20 + 2·40 = 210, and the sum of two embedded rows.
    assert found.flops == 6800 + 640 + 210 + 10
    # Bytes: weights 13,600; in and out of the products 2·(40 + 20 + 50 + 50) + 110 = 430
    # elements; queries and output of attention 2·20; keys and values 360; elementwise 410.
    assert found.bytes == 13_600 + 4 * (430 + 40 + 360 + 410)


def test_the_prompt() -> None:
    found = predict_prefill(SMALL, PLAIN, context())
    # Linear: 2400 weights of the layers and 1000 of the head: 13,600 B / 1e4 / 0.5 = 2.72 s.
    # Attention: 6 positions, 240 elements, written and read: 1.92 s. Elementwise: 6 · 1.64 =
    # 9.84 s. Overhead: 2 + 2 · 1 = 4 s.
    assert found.time_s == pytest.approx(2.72 + 1.92 + 9.84 + 4.0)
    assert (found.bound, found.overhead_s) == ("memory", 4.0)


def test_a_long_prompt_is_bound_by_arithmetic() -> None:
    found = predict_prefill(SMALL, PLAIN, context(prompt_len=1000, new_tokens=4))
    # Linear layers: 2·1000·2400 FLOPs at 1e6 · 0.5: 9.6 s; the head's one row is read: 0.8 s.
    # Attention: 2 layers · 1000·1001/2 pairs · 40 FLOPs = 40,040,000 at 1e4 FLOP/s: 4004 s.
    assert found.compute_s == pytest.approx(9.6 + 4004.0)
    # The head, and elementwise 1000 · 1.64 s.
    assert found.memory_s == pytest.approx(0.8 + 1640.0)
    assert found.bound == "compute"


def test_the_whole_workload() -> None:
    found = predict(SMALL, PLAIN, context(), None)
    # The prompt yields the first of the 4 tokens: 18.48 + 3 · 6.80.
    assert found.total_s == pytest.approx(18.48 + 3 * 6.80)
    assert found.speedup == 1.0
    assert found.assumptions == []
    assert found.speedup_interval is None  # without a rival
    twice = predict(SMALL, PLAIN, context(), 2 * found.total_s)
    assert twice.speedup == pytest.approx(2.0)
    prefill, decode = twice.prefill.interval, twice.decode.interval
    assert prefill is not None and decode is not None and twice.speedup_interval is not None
    slowest_s = prefill.high + 3 * decode.high
    assert twice.speedup_interval.low == pytest.approx(2 * found.total_s / slowest_s)
    assert twice.speedup_interval.low < 2.0 < twice.speedup_interval.high


def test_a_batch_reads_the_weights_once() -> None:
    # Three sequences: weights 2.72 s as before, attention 3 · 1.44 s, elementwise 3 · 1.64 s.
    found = predict_decode(SMALL, PLAIN, context(batch_size=3))
    assert found.memory_s == pytest.approx(2.72 + 3 * 1.44 + 3 * 1.64)
    assert found.overhead_s == pytest.approx(1.0)
    assert found.flops == 3 * (6800 + 640 + 210 + 10)
    assert found.bytes == 13_600 + 3 * 4 * (430 + 40 + 360 + 410)
    # Of the prompt attention takes 3 · 1.92 s and elementwise 3 · 9.84 s; each row has its logits.
    prompt = predict_prefill(SMALL, PLAIN, context(batch_size=3))
    assert prompt.memory_s == pytest.approx(2.72 + 3 * 1.92 + 3 * 9.84)
    # 6 tokens of 2 · 2400 FLOPs and a row of logits of 2000; 2 layers · 21 pairs · 40; elementwise
    # 6 · 220.
    assert prompt.flops == 3 * (6 * 4800 + 2000 + 1680 + 6 * 220)


def test_our_own_kernels_have_a_rate_and_an_arithmetic_of_their_own() -> None:
    ceilings = msgspec.structs.replace(CEILINGS, compute=[*CEILINGS.compute, compute("int8", 8e3)])
    rates = msgspec.structs.replace(
        RATES, linear=[*RATES.linear, linear_rate("native_int4", 1, 1000, 0.8)]
    )
    where = Context(workload=WORKLOAD, ceilings=ceilings, rates=rates)
    native = PLAIN.replace(native="int4", weight_dtype="int4-g32")
    found = predict_decode(SMALL, native, where)
    # 6800 operations at 8e3 int8 and 0.8: 1.0625 s; 3400 weights of 0.625 bytes at 1e4 and 0.8
    # take 0.266 s and are hidden.
    assert found.compute_s == pytest.approx(1.0625)
    assert found.memory_s == pytest.approx(1.44 + 1.64)
    assert (native.arithmetic, PLAIN.replace(native="fp32").arithmetic) == ("int8", "fp32")
    assert PLAIN.replace(native="bf16").arithmetic == "bf16"
    assert PLAIN.replace(weight_dtype="int8").arithmetic == "bf16"
    assert PLAIN.replace(dtype="bf16").arithmetic == "bf16"
    assert PLAIN.arithmetic == "fp32"


def test_overhead_can_be_the_bound() -> None:
    slow = msgspec.structs.replace(RATES.modes[0], decode_fixed_s=50.0)
    rates = msgspec.structs.replace(RATES, modes=[slow])
    found = predict_decode(SMALL, PLAIN, msgspec.structs.replace(context(), rates=rates))
    assert found.bound == "overhead"


# --- what rungs change ------------------------------------------------------------------------


def test_a_copied_cache_and_a_composed_gelu() -> None:
    # The cache of 320 elements is read and written: 640·4 B at 1e3 B/s.
    assert decode_s(PLAIN.replace(kv_copies=1.0)) == pytest.approx(6.80 + 2.56)
    # An activation walks over 160 elements: 0.64 s; seven times more.
    assert decode_s(PLAIN.replace(gelu_passes=8)) == pytest.approx(6.80 + 7 * 0.64)


def test_a_mask_over_the_whole_cache() -> None:
    # 10 positions instead of 8: 400 elements.
    assert decode_s(PLAIN.replace(reads_whole_cache=True)) == pytest.approx(6.80 + 2 * 0.16)


def test_bf16_halves_the_bytes() -> None:
    # Weights 6800 B at 1e4 · 0.25 = 2.72 s; attention 720 B at 4e3 = 0.18 s; elementwise 0.82 s.
    assert decode_s(PLAIN.replace(dtype="bf16")) == pytest.approx(2.72 + 0.18 + 0.82 + 1.0)


def test_int8_weights_leave_activations_as_they_are() -> None:
    # 3400 B at 1e4 · 0.2 = 1.7 s in the place of 2.72 s.
    in_int8 = PLAIN.replace(weight_dtype="int8")
    assert decode_s(in_int8) == pytest.approx(6.80 - 2.72 + 1.7)
    sizes = [
        predict_decode(SMALL, each, context()).bytes
        for each in (PLAIN, in_int8, PLAIN.replace(dtype="bf16", weight_dtype="int8"))
    ]
    assert sizes[0] - sizes[1] == 3400 * 3  # a quarter of fp32
    rest = sizes[0] - 3400 * 4
    assert sizes[2] == 3400 + rest / 2  # half of bf16, whose activations are half too


def test_generated_kernels_hold_for_few_rows() -> None:
    generated = PLAIN.replace(generated_gemv_rows={"fp32": 5, "bf16": 0})
    # Linear at efficiency 1 instead of 0.5: 1.36 s less. Attention of one query is generated too:
    # its 1440 B at 1e4 B/s take 0.144 s instead of 1.44.
    assert decode_s(generated) == pytest.approx(6.80 - 1.36 - 1.296)
    # Six rows of the prompt are too many, the one row of its head is not: 0.8 → 0.4 s.
    found = predict_prefill(SMALL, generated, context())
    assert found.time_s == pytest.approx(18.48 - 0.4)
    # Each type of weight has a number of its own: none for int8 here, so only attention gains.
    other = generated.replace(weight_dtype="int8")
    gain = decode_s(other.replace(generated_gemv_rows={})) - decode_s(other)
    assert gain == pytest.approx(1.296)


def test_the_working_set_decides_the_efficiency() -> None:
    rates = with_linear(
        linear_rate("linear_fp32", 1, 3800, 1.0), linear_rate("linear_fp32", 1, 60_800, 0.5)
    )
    # Weights and 10 positions of the cache: 13,600 + 1600 = 15,200 B, half-way in the logarithm
    # from 3800 (a quarter of it) to 60,800 (four times): half of the time at efficiency 1 and half
    # at 0.5, 1 / (0.5/1 + 0.5/0.5) = 2/3.
    found = predict_decode(SMALL, PLAIN, msgspec.structs.replace(context(), rates=rates))
    assert found.time_s == pytest.approx(6.80 - 2.72 + 1.36 * 3 / 2)


def test_the_working_set_decides_the_memory_level() -> None:
    levels = msgspec.structs.replace(
        CEILINGS, bandwidth=[bandwidth(10**4, 1e5), bandwidth(10**6, 1e3)]
    )
    # int8: 3400 B of weights and 10 positions of 160 B in the cache are 5000 B: 1e5 B/s.
    in_int8 = predict_decode(SMALL, PLAIN.replace(weight_dtype="int8"), context(levels))
    assert in_int8.memory_s == pytest.approx(3400 / 1e5 / 0.2 + 1.44 + 1.64)
    # fp32 with a cache of 540 positions: 13,600 + 86,400 = 1e5 B, half-way in the logarithm
    # between the two sizes: 1e4 B/s.
    where = context(levels, prompt_len=536, new_tokens=4)
    found = predict_decode(SMALL, PLAIN, where)
    assert found.memory_s == pytest.approx(2.72 + 539 * 0.16 + 1.64)


# --- speculation ------------------------------------------------------------------------------


def test_a_verified_pass_is_shared_by_its_tokens() -> None:
    expectation = PLAIN.replace(proposed_tokens=4, accepted_per_pass=2.5)
    found = predict_decode(SMALL, expectation, context())
    # One pass over 5 tokens: weights once 2.72 s, attention 8 positions read and 5 written 2.08 s,
    # elementwise 5 · 1.64 s, overhead 1.0 s, and 0.1 s of Python: 14.1 s for 2.5 tokens.
    assert found.time_s == pytest.approx(14.1 / 2.5)
    assert found.overhead_s == pytest.approx(1.1 / 2.5)
    assert (found.compute_s, found.memory_s) == (0.0, pytest.approx(13.0 / 2.5))
    # 5 · 6800 FLOPs of the products; 4 + 5 + 6 + 7 + 8 pairs in 2 layers · 40; elementwise 5 · 220.
    assert found.flops == pytest.approx((34_000 + 2400 + 1100) / 2.5)
    # As of one token, five times, but for the weights and the 8 keys read: 2·20·(8 + 5).
    moved = 13_600 + 4 * (5 * (430 + 40 + 410) + 520)
    assert found.bytes == pytest.approx(moved / 2.5)
    whole = predict(SMALL, expectation, context(), None)
    assert whole.assumptions == ["2.50 tokens per pass, as on the baseline's own output"]


def test_nothing_accepted_is_one_token_per_pass() -> None:
    found = predict_decode(SMALL, PLAIN.replace(proposed_tokens=4), context())
    assert found.time_s == pytest.approx(14.1)


def test_a_draft_runs_once_per_proposal_and_over_the_prompt() -> None:
    draft = small(layers=1)
    expectation = PLAIN.replace(proposed_tokens=4, accepted_per_pass=2.5, draft=draft)
    # A token of the draft: 2200 weights 1.76 s; attention 0.72 s; elementwise 3·20 + 2·30 + 80 +
    # 30 = 230 elements 0.92 s; overhead 0.75 s: 4.15 s, four times.
    found = predict_decode(SMALL, expectation, context())
    assert found.time_s == pytest.approx((14.1 + 4 * 4.15) / 2.5)
    # Its prompt: weights 1.76 s, attention 0.96 s, elementwise 6 · 0.92 s, overhead 2 + 1 s.
    whole = predict(SMALL, expectation, context(), None)
    assert whole.prefill.time_s == pytest.approx(18.48 + 1.76 + 0.96 + 5.52 + 3.0)
    assert whole.prefill.overhead_s == pytest.approx(4.0 + 3.0)
    assert whole.prefill.memory_s == pytest.approx(14.48 + 8.24)
    assert whole.prefill.compute_s == 0.0
    alone = [predict_prefill(config, PLAIN, context()) for config in (SMALL, draft)]
    assert whole.prefill.flops == sum(each.flops for each in alone)
    assert whole.prefill.bytes == sum(each.bytes for each in alone)
    # A draft's 4400 FLOPs of products, 8 keys · 40 and elementwise 30 + 40 + 40 + 10.
    assert found.flops == pytest.approx((37_500 + 4 * (4400 + 320 + 120)) / 2.5)


def test_a_draft_keeps_its_own_layers() -> None:
    """What quantizes the model's weights leaves the draft's as they are, in both phases."""
    draft = small(layers=1)
    quantized = PLAIN.replace(
        weight_dtype="int8", proposed_tokens=4, accepted_per_pass=2.5, draft=draft
    )
    # The model's weights take 1.7 s in the place of 2.72 s, once a pass; the draft's 1.76 s each.
    found = predict(SMALL, quantized, context(), None)
    assert found.decode.time_s == pytest.approx((14.1 - 1.02 + 4 * 4.15) / 2.5)
    assert found.prefill.time_s == pytest.approx(18.48 - 1.02 + 1.76 + 0.96 + 5.52 + 3.0)


# --- efficiency -------------------------------------------------------------------------------


def with_linear(*rates: LinearRate) -> Rates:
    return msgspec.structs.replace(RATES, linear=list(rates))


def test_efficiency_between_working_sets() -> None:
    rates = with_linear(
        linear_rate("linear_fp32", 1, 10_000, 0.6), linear_rate("linear_fp32", 1, 100, 0.2)
    )
    # Half-way: 1 / (0.5/0.2 + 0.5/0.6) = 0.3; level beyond.
    for size, expected in ((100, 0.2), (1000, 0.3), (10_000, 0.6), (0, 0.2), (10**9, 0.6)):
        found = linear_efficiency(rates, "linear_fp32", 1, size)
        assert found == pytest.approx(expected)


def test_efficiency_between_numbers_of_rows() -> None:
    rates = with_linear(
        *(
            linear_rate("linear_fp32", rows, 100, efficiency)
            for rows, efficiency in ((1, 0.1), (4, 0.4), (256, 0.8))
        )
    )
    # 2 is half-way from 1 to 4: 1 / (0.5/0.1 + 0.5/0.4) = 0.16; 32 half-way from 4 to 256:
    # 1 / (0.5/0.4 + 0.5/0.8) = 0.5333; level beyond.
    for rows, expected in ((0, 0.1), (1, 0.1), (2, 0.16), (4, 0.4), (32, 8 / 15), (999, 0.8)):
        assert linear_efficiency(rates, "linear_fp32", rows, 100) == pytest.approx(expected)


def test_a_kernel_that_was_not_measured_is_taken_for_the_others() -> None:
    rates = with_linear(linear_rate("linear_fp32", 1, 100, 0.3))
    assert linear_efficiency(rates, "gemv_int8", 1, 100) == 0.3


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 1e12), st.integers(1, 10**4))
def test_efficiency_stays_between_those_measured(size: float, rows: int) -> None:
    rates = with_linear(
        *(
            linear_rate("linear_fp32", m, measured, efficiency)
            for (m, measured), efficiency in zip(
                itertools.product((1, 256), (100, 10**4, 10**6)),
                (0.2, 0.8, 0.5, 0.3, 0.9, 0.7),
                strict=True,
            )
        )
    )
    found = linear_efficiency(rates, "linear_fp32", rows, size)
    assert 0.2 - 1e-12 <= found <= 0.9 + 1e-12


@pytest.mark.parametrize(
    ("kernel", "peak"),
    [
        ("linear_fp32", 1e6),
        ("linear_bf16", 4e6),
        ("linear_int8", 4e6),  # multiplied in bf16
        ("gemv_int8", 1e6),  # widened to fp32
        ("gemv_bf16", 1e6),
    ],
)
def test_the_arithmetic_that_a_kernel_uses(kernel: str, peak: float) -> None:
    found = roofline_time(1e6, 1e4, kernel, 1.0, CEILINGS, 1)
    assert found == (pytest.approx(1e6 / peak), pytest.approx(1.0))


def test_without_bf16_arithmetic_fp32_stands_in() -> None:
    only_fp32 = msgspec.structs.replace(CEILINGS, compute=[compute("fp32", 1e6)])
    assert roofline_time(1e6, 0.0, "linear_bf16", 1.0, only_fp32, 1)[0] == pytest.approx(1.0)
    nothing = msgspec.structs.replace(CEILINGS, compute=[])
    assert roofline_time(1e6, 0.0, "linear_bf16", 1.0, nothing, 1)[0] == 0.0


def test_an_unmeasured_mode_is_named() -> None:
    with pytest.raises(KeyError, match="decoder_compiled"):
        decode_s(Expectation(mode="decoder_compiled"))


# --- sums -------------------------------------------------------------------------------------

expectations = st.builds(
    Expectation,
    mode=st.sampled_from(["plain", "free"]),
    dtype=st.sampled_from(["fp32", "bf16"]),
    weight_dtype=st.sampled_from([None, "int8"]),
    kv_copies=st.sampled_from([0.0, 1.0]),
    gelu_passes=st.integers(1, 8),
    reads_whole_cache=st.booleans(),
    generated_gemv_rows=st.sampled_from([{}, {"fp32": 8}, {"int8": 8, "bf16": 1}]),
    proposed_tokens=st.integers(0, 6),
    accepted_per_pass=st.none() | st.floats(1, 7),
    draft=st.sampled_from([None, small(layers=1)]),
)


@settings(max_examples=50, deadline=None)
@given(expectations, st.integers(1, 100), st.integers(2, 50), st.integers(1, 4))
def test_the_parts_of_a_phase_sum_to_its_time(
    expectation: Expectation, prompt_len: int, new_tokens: int, batch_size: int
) -> None:
    where = context(prompt_len=prompt_len, new_tokens=new_tokens, batch_size=batch_size)
    found = predict(SMALL, expectation, where, None)
    for phase in (found.prefill, found.decode):
        parts = {
            "compute": phase.compute_s,
            "memory": phase.memory_s,
            "overhead": phase.overhead_s,
        }
        assert phase.time_s == pytest.approx(sum(parts.values()))
        assert parts[phase.bound] == max(parts.values())
        assert min(phase.flops, phase.bytes, *parts.values()) >= 0
    expected = found.prefill.time_s + (new_tokens - 1) * found.decode.time_s
    assert found.total_s == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500))
def test_a_longer_context_takes_no_less(prompt_len: int, more: int) -> None:
    def total(length: int) -> PhasePrediction:
        return predict_decode(SMALL, PLAIN, context(prompt_len=length))

    assert total(prompt_len).time_s <= total(prompt_len + more).time_s
