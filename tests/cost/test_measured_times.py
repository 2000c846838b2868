"""Op times on a measured machine, by hand; linear efficiency is tested in test_predict.py."""

from typing import Any

import pytest

from tests.cost.test_predict import CEILINGS, RATES
from topout.cost.measured_times import MeasuredTimes
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


def test_elementwise_ops_have_a_rate_and_no_overhead() -> None:
    norm = Op(name="norm", kind="elementwise", count=1, flops=1.0, activation_elements=250.0)
    found = times().time(norm, load(), Pace())
    assert (found.memory_s, found.overhead_s) == (pytest.approx(1.0), 0.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tensor_parallel": 2}, "measured alone"),
        ({"weight_dtype": "int4-g32"}, "int4-g32"),
        ({"dtype": "fp16"}, "fp16"),
    ],
)
def test_what_was_not_measured_is_told(changes: dict[str, Any], named: str) -> None:
    found = times().missing(load(**changes))
    assert found is not None and named in found
    assert times().missing(load()) is None
