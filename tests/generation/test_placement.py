"""From runs to figures, by hand; the work is that of the decoder in tests/cost/small_config.py."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cost.small_config import SMALL, small
from tests.cost.test_predict import CEILINGS, PLAIN, RATES, bandwidth
from tests.generation.tiny_builds import workload
from topout.cost.predict import Context, predict
from topout.generation.placement import (
    Work,
    decode_s,
    decode_work,
    exceeded_by,
    is_above_ceiling,
    mean_run,
    phase_ratios,
    place_phase,
    place_run,
    prediction_error,
    prefill_work,
    tokens_per_pass,
)
from topout.measure.runner import Duel
from topout.records import Interval, PhasePrediction, RunSample
from topout.roofline import Exceeded

ASKED = workload(prompt_len=6, new_tokens=4)
CONTEXT = Context(workload=ASKED, ceilings=CEILINGS, rates=RATES)


def sample(ttft_s: float, total_s: float, new_tokens: int = 4, passes: int = 3) -> RunSample:
    return RunSample(
        ttft_s=ttft_s, total_s=total_s, new_tokens=new_tokens, forward_passes=passes, at_s=0.0
    )


# --- the work ---------------------------------------------------------------------------------


def test_the_prompt_reads_all_weights_once() -> None:
    work = prefill_work(SMALL, PLAIN, ASKED)
    # 3400 weights and the 6 positions of 2·2·10 elements that are written, in fp32.
    assert work.bytes == 4 * (3400 + 240)
    # 2·6·2400 in the layers, 2·1000 in the head, 2 layers · 21 pairs · 40 in attention.
    assert work.flops == 28_800 + 2000 + 1680
    assert work.working_set_bytes == 4 * (3400 + 400)  # the cache of all 10 positions


def test_a_token_reads_all_weights_and_the_filled_cache() -> None:
    work = decode_work(SMALL, PLAIN, ASKED, 1.0)
    # Half-way: 8 positions are filled, and the token sees itself.
    assert work.bytes == 4 * (3400 + 9 * 40)
    assert work.flops == 2 * 3400 + 2 * 9 * 40
    assert work.working_set_bytes == 4 * (3400 + 400)


def test_int8_weights_are_a_byte_each() -> None:
    work = decode_work(SMALL, PLAIN.replace(weight_dtype="int8"), ASKED, 1.0)
    assert work.bytes == 3400 + 4 * 9 * 40
    half = decode_work(SMALL, PLAIN.replace(dtype="bf16"), ASKED, 1.0)
    assert half.bytes == 2 * (3400 + 9 * 40)


def test_a_batch_shares_the_weights() -> None:
    work = decode_work(SMALL, PLAIN, workload(prompt_len=6, new_tokens=4, batch_size=3), 1.0)
    assert work.bytes == 4 * (3400 + 3 * 9 * 40)
    assert work.flops == 3 * (2 * 3400 + 2 * 9 * 40)


def test_speculation_shares_a_pass_among_its_tokens() -> None:
    expectation = PLAIN.replace(proposed_tokens=4)
    work = decode_work(SMALL, expectation, ASKED, 2.5)
    # Five tokens on 8 positions: 9 + 10 + 11 + 12 + 13 = 55 pairs.
    assert work.flops == (2 * 5 * 3400 + 2 * 55 * 40) / 2.5
    assert work.bytes == 4 * (3400 + 13 * 40) / 2.5
    drafted = decode_work(SMALL, expectation.replace(draft=small(layers=1)), ASKED, 2.5)
    # Four times the draft's 2200 weights and 9 positions of 20 elements.
    assert drafted.bytes == pytest.approx(work.bytes + 4 * 4 * (2200 + 180) / 2.5)
    assert drafted.flops == pytest.approx(work.flops + 4 * (2 * 2200 + 9 * 40) / 2.5)


# --- the placement ----------------------------------------------------------------------------


PREDICTED = PhasePrediction(
    time_s=2.2,
    interval=Interval(low=2.0, high=2.6),
    flops=5e5,
    bytes=2e4,
    compute_s=0.0,
    memory_s=2.2,
    overhead_s=0.0,
    bound="memory",
)


def test_a_phase_bound_by_memory() -> None:
    # fp32: 1e6 FLOP/s, 1e4 B/s. 2e4 B take 2 s, 5e5 FLOPs 0.5 s; 2.5 s were measured.
    work = Work(flops=5e5, bytes=2e4, working_set_bytes=1e4)
    found = place_phase(
        [2.4, 2.5, 2.6], 10, work, "fp32", CONTEXT.ceilings, 1, speedup=None, predicted=PREDICTED
    )
    assert found.time_s.median == 2.5
    assert found.tokens_per_s.median == pytest.approx(4.0)
    assert found.tokens_per_s.low == pytest.approx(10 / found.time_s.high)
    assert found.arithmetic_intensity == 25.0
    assert found.mbu_of_ceiling == pytest.approx(2.0 / 2.5)
    assert found.mfu_of_ceiling == pytest.approx(0.5 / 2.5)
    assert found.bound == "memory"
    assert (found.ceiling_flops_per_s, found.ceiling_bytes_per_s) == (1e6, pytest.approx(1e4))
    assert found.predicted_time_s == 2.2
    assert found.predicted_interval == Interval(low=2.0, high=2.6)


@pytest.mark.parametrize(
    ("measured_s", "read_bytes_per_s", "ceiling", "reads_again"),
    [
        (1.0, 3e4, 3e4, True),  # 2e4 B/s, above the 1e4 on file
        (1.0, 1.5e4, 1.5e4, True),  # still above what was read between the runs
        (1.0, 9e3, 1e4, False),  # what was read is not higher
        (1.0, None, 1e4, False),
        (1.97, 3e4, 1e4, False),  # 1.5 % above is scatter
        (2.5, 3e4, 1e4, False),  # nothing was exceeded
    ],
)
def test_a_bandwidth_on_file_that_is_exceeded_gives_way_to_what_was_read_again(
    measured_s: float, read_bytes_per_s: float | None, ceiling: float, reads_again: bool
) -> None:
    work = Work(flops=5e5, bytes=2e4, working_set_bytes=1e4)
    found = place_phase(
        [measured_s],
        1,
        work,
        "fp32",
        CONTEXT.ceilings,
        1,
        speedup=None,
        predicted=None,
        read_bytes_per_s=read_bytes_per_s,
    )
    assert found.ceiling_bytes_per_s == pytest.approx(ceiling)
    assert found.ceiling_read_again is reads_again
    assert found.mbu_of_ceiling == pytest.approx(2e4 / ceiling / measured_s)


def test_runs_bring_what_was_read_between_them() -> None:
    runs = [
        msgspec.structs.replace(sample(1e-3, 2e-3), ceiling_bytes_per_s=rate)
        for rate in (5e4, None, 7e9)
    ]
    placed = place_run(runs, SMALL, PLAIN, ASKED, CONTEXT.ceilings)
    assert placed.decode.ceiling_bytes_per_s == 7e9 and placed.decode.ceiling_read_again


def test_what_is_above_its_ceilings_is_told_with_the_rates() -> None:
    work = Work(flops=5e6, bytes=2e4, working_set_bytes=1e4)
    found = place_phase([1.0], 1, work, "fp32", CONTEXT.ceilings, 1, speedup=None, predicted=None)
    assert is_above_ceiling(found)
    assert exceeded_by("bf16", ("decode", found), ("prefill", None)) == [
        Exceeded("decode of bf16", "arithmetic", 5e6, 5.0),
        Exceeded("decode of bf16", "bandwidth", 2e4, pytest.approx(2.0)),
    ]
    below = msgspec.structs.replace(found, mfu_of_ceiling=1.01, mbu_of_ceiling=None)
    assert not is_above_ceiling(below)
    assert exceeded_by("bf16", ("decode", below)) == []


@pytest.mark.parametrize(
    ("flops", "measured_s", "bound"),
    [
        (3e6, 3.5, "compute"),  # 3 s of arithmetic, 2 s of memory
        (5e5, 3.9, "memory"),  # 1.9 s are left over, and 2 s are memory's
        (5e5, 4.1, "overhead"),
        (3e6, 6.5, "overhead"),
    ],
)
def test_the_largest_part_is_the_bound(flops: float, measured_s: float, bound: str) -> None:
    work = Work(flops=flops, bytes=2e4, working_set_bytes=1e4)
    found = place_phase(
        [measured_s], 1, work, "fp32", CONTEXT.ceilings, 1, speedup=None, predicted=None
    )
    assert found.bound == bound


def test_the_ceilings_are_those_of_the_type_and_the_working_set() -> None:
    levels = msgspec.structs.replace(
        CEILINGS, bandwidth=[bandwidth(10**4, 1e5), bandwidth(10**6, 1e3)]
    )
    context = msgspec.structs.replace(CONTEXT, ceilings=levels)
    for size, rate in ((10**4, 1e5), (10**6, 1e3), (10**5, 1e4)):
        work = Work(flops=1.0, bytes=1.0, working_set_bytes=size)
        found = place_phase(
            [1.0], 1, work, "bf16", context.ceilings, 1, speedup=None, predicted=None
        )
        assert found.ceiling_bytes_per_s == pytest.approx(rate)
        assert found.ceiling_flops_per_s == 4e6


def test_without_a_compute_ceiling_there_is_no_mfu() -> None:
    context = msgspec.structs.replace(
        CONTEXT, ceilings=msgspec.structs.replace(CEILINGS, compute=[])
    )
    work = Work(flops=5e5, bytes=2e4, working_set_bytes=1e4)
    found = place_phase([2.5], 1, work, "fp32", context.ceilings, 1, speedup=None, predicted=None)
    assert found.mfu_of_ceiling is None and found.ceiling_flops_per_s is None
    assert found.bound == "memory"


# --- runs -------------------------------------------------------------------------------------


def test_time_per_token_leaves_out_the_first() -> None:
    assert decode_s(sample(1.0, 4.0)) == 1.0  # 3 s for the 3 tokens after the first


def test_phases_of_a_duel_have_ratios_of_their_own() -> None:
    duel = Duel(
        rival=[sample(2.0, 8.0), sample(2.0, 8.0)],
        candidate=[sample(1.0, 5.5), sample(1.0, 5.5)],
    )
    found = phase_ratios(duel)
    assert found.prefill.pairs == [2.0, 2.0]
    assert found.decode.pairs == pytest.approx([2.0 / 1.5] * 2)


def test_tokens_per_pass_are_over_all_runs() -> None:
    assert tokens_per_pass([sample(1, 2, new_tokens=13, passes=12)]) == 1.0
    # 12 + 12 tokens after the first, in 4 + 8 passes.
    runs = [sample(1, 2, new_tokens=13, passes=4), sample(1, 2, new_tokens=13, passes=8)]
    assert tokens_per_pass(runs) == 2.0
    assert tokens_per_pass([]) == 0.0


def test_the_error_of_a_prediction_is_relative_to_what_was_measured() -> None:
    predicted = predict(SMALL, PLAIN, CONTEXT, None)  # 38.88 s, see tests/cost/test_predict.py
    for measured, error in ((38.88, 0.0), (77.76, 0.5), (19.44, 1.0)):
        found = prediction_error(predicted, [sample(1.0, measured)] * 3)
        assert found == pytest.approx(error, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=9),
    st.floats(1.0, 1e12),
    st.floats(1.0, 1e12),
)
def test_utilization_is_time_at_the_ceiling_over_time(
    times_s: list[float], flops: float, moved: float
) -> None:
    work = Work(flops=flops, bytes=moved, working_set_bytes=1e6)
    found = place_phase(times_s, 1, work, "fp32", CONTEXT.ceilings, 1, speedup=None, predicted=None)
    assert found.mfu_of_ceiling == pytest.approx(flops / 1e6 / found.time_s.median)
    assert found.mbu_of_ceiling == pytest.approx(moved / 1e4 / found.time_s.median)


def test_a_run_over_several_prompts_is_their_mean() -> None:
    """Times and passes are means, peaks are the highest; one run is itself."""
    one = RunSample(
        ttft_s=1.0,
        total_s=3.0,
        new_tokens=9,
        forward_passes=8,
        at_s=5.0,
        stolen_share=0.1,
        other_load=0.2,
        processor_s=2.0,
        peak_memory_bytes=100,
    )
    other = msgspec.structs.replace(
        one,
        ttft_s=2.0,
        total_s=6.0,
        forward_passes=3,
        stolen_share=None,
        other_load=0.3,
        processor_s=4.0,
        peak_memory_bytes=300,
    )
    found = mean_run([one, other])
    assert (found.ttft_s, found.total_s, found.forward_passes) == (1.5, 4.5, 6)  # 5.5 to even
    assert (found.other_load, found.processor_s) == (0.3, 3.0)
    assert (found.stolen_share, found.peak_memory_bytes, found.at_s) == (0.1, 300, 5.0)
    assert mean_run([other]) is other
