"""Op times on a measured machine, by hand; linear efficiency is tested in test_predict.py."""

from typing import Any

import msgspec
import pytest

from tests.cost.test_predict import CEILINGS, RATES, compute, linear_rate
from topout.cost.measured_times import MeasuredTimes, native_arithmetic, roofline_time
from topout.cost.ops import Load, Op, Pace


def load(**changes: Any) -> Load:
    fields = {"dtype": "fp32", "weight_dtype": "fp32", "kv_dtype": "fp32"}
    return Load(**(fields | {"working_set_bytes": 1e4, "phase": "decode"} | changes))


def times(**generated: int) -> MeasuredTimes:
    return MeasuredTimes(CEILINGS, RATES, 1, "plain", generated)


def product(part: str = "mlp") -> Op:
    return Op(
        name="up",
        part=part,
        kind="linear",
        count=2,
        rows=1,
        flops=2000.0,
        weight_elements=1000.0,
    )


def test_a_product_and_its_part_of_a_block_s_overhead() -> None:
    found = times().time(product(), load(), Pace())
    # 4000 bytes at 1e4 B/s and efficiency 0.5; two of a block's five products at 0.25 s a block.
    assert found.memory_s == pytest.approx(0.8)
    assert found.compute_s == pytest.approx(2000 / 1e6 / 0.5)
    assert found.overhead_s == pytest.approx(2 * 0.25 / 5)
    assert found.time_s == pytest.approx(0.9)
    # A prompt's is 1 s a block; the head bears what a pass costs once.
    prompt = times().time(product(), load(phase="prefill"), Pace())
    assert prompt.overhead_s == pytest.approx(2 * 1.0 / 5)
    assert times().time(product("head"), load(), Pace()).overhead_s == 0.5


def test_attention_streams_keys_or_multiplies() -> None:
    one = Op(name="attention", kind="attention", count=1, rows=1, flops=100.0, kv_elements=250.0)
    # 1000 bytes at 1e3 B/s.
    assert times().busy(one, load()) == (0.0, pytest.approx(1.0))
    many = Op(name="attention", kind="attention", count=1, rows=64, flops=1e4, kv_elements=1.0)
    assert times().busy(many, load())[0] == pytest.approx(1.0)
    # An encoder keeps no cache: its keys are activations.
    encoder = Op(
        name="attention", kind="attention", count=1, rows=8, flops=1.0, activation_elements=250.0
    )
    assert times().busy(encoder, load())[1] == pytest.approx(1.0)


def test_paces() -> None:
    assert MeasuredTimes.fast == Pace(compute=1.15, bandwidth=1.2, overhead=0.7)
    assert MeasuredTimes.slow == Pace(compute=0.85, bandwidth=0.8, overhead=1.4)
    found = times().time(product(), load(), Pace(compute=2.0, bandwidth=4.0, overhead=3.0))
    assert found.compute_s == pytest.approx(2000 / 1e6 / 0.5 / 2)
    assert found.memory_s == pytest.approx(0.8 / 4)
    assert found.overhead_s == pytest.approx(3 * 2 * 0.25 / 5)


def test_convolutions_are_products_and_kernels_hold_up_to_their_rows() -> None:
    convolution = msgspec.structs.replace(product(), kind="convolution")
    assert times().busy(convolution, load()) == times().busy(product(), load())
    # Generated up to 3 rows, at efficiency 1 in the place of 0.5.
    three, four = (msgspec.structs.replace(product(), rows=rows) for rows in (3, 4))
    assert times(fp32=3).busy(three, load())[1] == pytest.approx(0.4)
    assert times(fp32=3).busy(four, load())[1] == pytest.approx(0.8)
    # int8 weights are a quarter of the bytes, 1000 at 1e4 and efficiency 0.2, multiplied in bf16.
    in_int8 = times(fp32=3).busy(three, load(weight_dtype="int8"))
    assert in_int8 == (pytest.approx(2000 / 4e6 / 0.2), pytest.approx(0.5))


def test_our_own_kernels() -> None:
    rates = msgspec.structs.replace(
        RATES, linear=[*RATES.linear, linear_rate("native_int8_dynamic", 1, 1000, 0.4)]
    )
    ceilings = msgspec.structs.replace(CEILINGS, compute=[*CEILINGS.compute, compute("int8", 5e3)])
    native = MeasuredTimes(ceilings, rates, 1, "plain", {"int8": 9}, "int8_dynamic")
    # 2000 operations at 5e3 and 0.4; 1000 bytes at 1e4 and 0.4.
    found = native.busy(product(), load(weight_dtype="int8"))
    assert found == (pytest.approx(1.0), pytest.approx(0.25))
    assert [native_arithmetic(name) for name in ("bf16", "int8_dynamic", "int4", "int8")] == [
        "bf16",
        "int8",
        "int8",
        "fp32",
    ]


def test_threads_choose_the_ceiling() -> None:
    four = [
        msgspec.structs.replace(CEILINGS.bandwidth[0], threads=4, bytes_per_s=2e4),
        *CEILINGS.bandwidth,
    ]
    ceilings = msgspec.structs.replace(CEILINGS, bandwidth=four)
    of_four = MeasuredTimes(ceilings, RATES, 4, "plain")
    assert of_four.busy(product(), load())[1] == pytest.approx(0.4)


def test_ceilings_of_more_threads_do_not_count() -> None:
    """One thread of a machine of which four were measured too, bf16 by four alone."""
    of_four = [
        msgspec.structs.replace(compute("fp32", 8e6), threads=4),
        msgspec.structs.replace(compute("bf16", 3.2e7), threads=4),
    ]
    faster = msgspec.structs.replace(CEILINGS.bandwidth[0], threads=4, bytes_per_s=8e4)
    ceilings = msgspec.structs.replace(
        CEILINGS,
        compute=[compute("fp32", 1e6), *of_four],
        bandwidth=[*CEILINGS.bandwidth, faster],
    )
    # bf16 is computed in fp32 where no rate of it is known: 2000 at 1e6, 1000 bytes at 1e4.
    found = roofline_time(2000, 1000, "linear_bf16", 1e4, ceilings, 1)
    assert found == (pytest.approx(0.002), pytest.approx(0.1))
    one = MeasuredTimes(ceilings, RATES, 1, "plain", {"fp32": 1})
    # Generated, at efficiency 1: the weights' and the keys' 4000 bytes at 1e4.
    assert one.busy(product(), load()) == (pytest.approx(0.002), pytest.approx(0.4))
    op = Op(name="attention", kind="attention", count=1, rows=1, flops=1e4, kv_elements=1000.0)
    assert one.busy(op, load()) == (0.0, pytest.approx(0.4))


def test_generated_kernels_have_rates_of_their_own() -> None:
    """Others were measured to be better, and more rows worse."""
    slow = [linear_rate("gemv_fp32", 1, 1000, 0.25), linear_rate("gemv_fp32", 3, 1000, 0.125)]
    rates = msgspec.structs.replace(RATES, linear=[*RATES.linear[:-1], *slow])
    generated = MeasuredTimes(CEILINGS, rates, 1, "plain", {"fp32": 3})
    three = msgspec.structs.replace(product(), rows=3)
    # 2000 at 1e6 and 4000 bytes at 1e4, both over 0.125.
    assert generated.busy(three, load()) == (pytest.approx(0.016), pytest.approx(3.2))
    # 1000 bytes at 1e4 over 0.25, that of one row.
    op = Op(name="attention", kind="attention", count=1, rows=1, flops=1e4, kv_elements=250.0)
    assert generated.busy(op, load()) == (0.0, pytest.approx(0.4))


def test_a_few_queries_stream_and_more_multiply() -> None:
    op = Op(name="attention", kind="attention", count=1, rows=16, flops=1e4, kv_elements=25.0)
    op = msgspec.structs.replace(op, activation_elements=500.0)
    # 100 bytes of keys at 1e3 B/s; queries and output do not count beside them.
    assert times().busy(op, load()) == (0.0, pytest.approx(0.1))
    more = msgspec.structs.replace(op, rows=17)
    assert times().busy(more, load()) == (pytest.approx(1.0), pytest.approx(0.1))
    # In bf16 half of the bytes at 4e3 B/s, twice the FLOP/s; fp16 was not measured: the first.
    in_bf16 = load(dtype="bf16", kv_dtype="bf16")
    assert times().busy(more, in_bf16) == (pytest.approx(0.5), pytest.approx(0.0125))
    in_fp16 = load(dtype="fp16", kv_dtype="fp16")
    assert times().busy(more, in_fp16) == (pytest.approx(1.0), pytest.approx(0.05))


def test_attention_of_one_query_is_generated_where_products_are() -> None:
    op = Op(name="attention", kind="attention", count=1, rows=1, flops=1e4, kv_elements=250.0)
    # 1000 bytes at 1e4 B/s and efficiency 1.
    assert times(fp32=1).busy(op, load()) == (0.0, pytest.approx(0.1))
    two = msgspec.structs.replace(op, rows=2)
    assert times(fp32=1).busy(two, load()) == (0.0, pytest.approx(1.0))
    # Of every product a fifth of a block's overhead, and attention is one.
    assert times().time(op, load(), Pace()).overhead_s == pytest.approx(0.05)
    assert times().time(op, load(phase="prefill"), Pace()).overhead_s == pytest.approx(0.2)
    assert times().time(product("head"), load(phase="prefill"), Pace()).overhead_s == 2.0


def test_elementwise_ops_have_a_rate_and_no_overhead() -> None:
    norm = Op(name="norm", kind="elementwise", count=1, flops=1.0, activation_elements=250.0)
    found = times().time(norm, load(), Pace())
    assert (found.memory_s, found.overhead_s) == (pytest.approx(1.0), 0.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tensor_parallel": 2}, "measured alone"),
        ({"data_parallel": 2}, "measured alone"),
        ({"weight_dtype": "int4-g32"}, "int4-g32"),
        ({"dtype": "fp16"}, "fp16"),
    ],
)
def test_what_was_not_measured_is_told(changes: dict[str, Any], named: str) -> None:
    found = times().missing(load(**changes))
    assert found is not None and named in found
    assert times().missing(load()) is None
