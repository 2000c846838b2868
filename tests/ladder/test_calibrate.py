"""The constants of a prediction, from clocks and models that the test makes."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from tests.cost.test_predict import CEILINGS
from topout.ladder import calibrate
from topout.ladder.calibrate import (
    MatrixSet,
    fixed_and_per_layer,
    measure_rates,
    tiny_config,
)
from topout.models.config import ModelConfig
from topout.models.known import known_config_json
from topout.records import Dtype, Rates, decode, encode

CPU = torch.device("cpu")
ROWS = (1, 5, 256)
NAMES = ["gpt2", "llama-2-7b", "llama-3.2-1b", "qwen2-0.5b", "qwen3-0.6b", "mistral-7b"]


# --- rates by hand ----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is timed is run once and takes 10 ms and 1 s in turns: a single call, then all."""
    timed: list[Any] = []
    seconds = itertools.cycle([0.01, 1.0])

    def fake(action: Callable[[], object], device: torch.device, trials: int = 3) -> float:
        timed.append(action())
        return next(seconds)

    monkeypatch.setattr(calibrate, "time_of", fake)
    return timed


@pytest.mark.parametrize(("kernel", "size"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_linear_rates(kernel: Dtype, size: int, clock: list[Any]) -> None:
    rates = calibrate._linear_rates(kernel, MatrixSet(64, 32, 4, ROWS), CPU, CEILINGS, 1)
    assert [rate.rows for rate in rates] == [1, 5, 256]
    # Four matrices at 1e4 B/s. One second, less four calls of 10 ms.
    read_s = 4 * 64 * 32 * size / 1e4
    for rate in rates:
        assert rate.kernel == f"linear_{kernel}"
        assert rate.matrix_elements == 64 * 32
        assert rate.working_set_bytes == 4 * 64 * 32 * size
        flops = 2 * rate.rows * 4 * 64 * 32
        assert rate.flops_per_s == pytest.approx(flops / 0.96)
        multiply_s = flops / (1e6 if kernel == "fp32" else 4e6)
        assert rate.efficiency == pytest.approx(min(1.0, max(read_s, multiply_s) / 0.96))
    assert rates[-1].efficiency == 1.0  # faster than the roofline no kernel is


def test_calls_that_took_longer_than_all_leave_a_rate_that_can_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "time_of", lambda action, device: 1.0)
    for rate in calibrate._linear_rates("fp32", MatrixSet(64, 64, 3, ROWS), CPU, CEILINGS, 1):
        assert rate.efficiency == 1.0
        encode(rate)


def test_attention_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2.0, 0.01, 1.0])  # the prompt; one call; a token over twelve layers
    monkeypatch.setattr(calibrate, "time_of", lambda action, device: next(seconds))
    found = calibrate._attention_rate("bf16", CPU)
    # 12 heads of 64 over 512·513/2 pairs, 4 FLOPs each.
    assert found.prefill_flops_per_s == pytest.approx(4 * 12 * 64 * 512 * 513 / 2 / 2.0)
    # Keys and values of 12 layers · 12 heads · 512 · 64 in 2 bytes; twelve calls of 10 ms less.
    moved = 2 * 12 * 12 * 512 * 64 * 2
    assert found.decode_bytes_per_s == pytest.approx(moved / 0.88)


def test_elementwise_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "time_of", lambda action, device: 0.5)
    # Two operands and the result, 512·3072 in fp32.
    assert calibrate._elementwise_rate(CPU) == pytest.approx(3 * 512 * 3072 * 4 / 0.5)


def overhead_of(
    monkeypatch: pytest.MonkeyPatch, times: Callable[[int], tuple[float, float]]
) -> Any:
    monkeypatch.setattr(calibrate, "_tiny_times", lambda *arguments: times(arguments[-1]))
    return calibrate._mode_overhead("decoder_eager", ["static_cache"], {}, "gpt2", "cpu", 1)


def test_overhead_is_a_line_over_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = overhead_of(monkeypatch, lambda layers: (3.0 + 2.0 * layers, 0.5 + 0.25 * layers))
    assert found.mode == "decoder_eager"
    assert found.prefill_fixed_s == pytest.approx(3.0)
    assert found.prefill_per_layer_s == pytest.approx(2.0)
    assert found.decode_fixed_s == pytest.approx(0.5)
    assert found.decode_per_layer_s == pytest.approx(0.25)


def test_overhead_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    falling = overhead_of(monkeypatch, lambda layers: (9.0 - layers, 5.0 - layers))
    assert falling.prefill_per_layer_s == falling.decode_per_layer_s == 0.0
    assert falling.prefill_fixed_s > 0 and falling.decode_fixed_s > 0
    steep = overhead_of(monkeypatch, lambda layers: (2.0 * layers - 1.0, 2.0 * layers - 1.0))
    assert steep.prefill_fixed_s == steep.decode_fixed_s == 0.0


def test_a_verification_pass_beside_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {("static_cache",): 0.4, ("static_cache", "speculate_lookup"): 0.5}
    monkeypatch.setattr(calibrate, "_tiny_times", lambda stack, *_: (1.0, times[tuple(stack)]))
    assert calibrate._speculation_pass_time({}, "gpt2", "cpu", 1) == pytest.approx(0.1)


# --- the tiny model ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", [1, 4])
def test_a_tiny_model_keeps_its_architecture(name: str, layers: int) -> None:
    fields = known_config_json(name)
    config = ModelConfig.from_hugging_face(tiny_config(fields, layers), "tiny")
    whole = ModelConfig.from_hugging_face(fields, name)
    assert (config.layers, config.width, config.heads, config.kv_heads) == (layers, 64, 1, 1)
    assert (config.head_size, config.vocab_size) == (64, 256)
    for field in ("architecture", "norm", "activation", "gated_mlp", "qkv_bias", "qk_norm"):
        assert getattr(config, field) == getattr(whole, field)
    assert config.parameters().total < 400_000
    assert config.context_len >= calibrate.TINY_PROMPT_LEN + calibrate.TINY_NEW_TOKENS + 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stack", [[], ["static_cache"], ["static_cache", "speculate_lookup"]])
def test_a_tiny_model_runs_in_every_mode(name: str, stack: list[str]) -> None:
    fields = known_config_json(name)
    session = calibrate._tiny_session(stack, fields, fields["model_type"], "cpu", 1, 2)
    run = session.generate(torch.arange(calibrate.TINY_PROMPT_LEN)[None], 6)
    assert run.tokens.shape == (1, 6)


# --- all together -----------------------------------------------------------------------------


def test_all_rates_can_be_recorded(clock: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sets = (MatrixSet(64, 32, 2, ROWS), MatrixSet(32, 64, 3, ROWS))
    monkeypatch.setattr(calibrate, "LIBRARY_SETS", sets)
    monkeypatch.setattr(calibrate, "_tiny_times", lambda *arguments: (0.3, 0.2))
    found = measure_rates(
        host_key="host",
        versions="torch 0",
        device="cpu",
        threads=1,
        config_json=known_config_json("gpt2"),
        architecture="gpt2",
        ceilings=msgspec.to_builtins(CEILINGS),
        with_compile=False,
        with_native=False,
    )
    kernels = ("fp32", "bf16", "int8")
    assert {(rate.kernel, rate.matrix_elements, rate.rows) for rate in found.linear} == {
        (f"linear_{kernel}", 64 * 32, rows) for kernel in kernels for rows in (1, 5, 256)
    }
    assert len(found.linear) == 2 * 3 * 3
    assert [rate.dtype for rate in found.attention] == ["fp32", "bf16"]
    assert [mode.mode for mode in found.modes] == ["transformers_eager", "decoder_eager"]
    assert set(found.reasons) == {"decoder_compiled", "native_eager", "native_compiled"}
    assert found.speculation_pass_s == 0.0
    assert decode(encode(found), Rates) == found


def test_one_depth_counts_as_all_per_layer_and_two_make_a_line() -> None:
    """4 layers in 8 ms are 2 ms each; 2 in 5 ms and 5 in 11 ms are 2 ms each on top of 1 ms."""
    assert fixed_and_per_layer((4,), [8e-3]) == (0.0, 2e-3)
    assert fixed_and_per_layer((2, 5), [5e-3, 11e-3]) == pytest.approx((1e-3, 2e-3))
    assert fixed_and_per_layer((2, 5), [5e-3, 4e-3]) == (5e-3, 0.0)  # noise, not a negative cost
