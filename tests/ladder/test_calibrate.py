"""The constants of a prediction, from clocks and models that the test makes."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from tests.cost.test_predict import CEILINGS
from topout.ladder import calibrate, kernel_rates
from topout.ladder.calibrate import (
    fixed_and_per_layer,
    measure_rates,
    mode_overhead,
    speculation_pass_time,
    tiny_config,
    tiny_session,
)
from topout.ladder.kernel_rates import MatrixSet
from topout.ladder.rates import RatesRequest
from topout.ladder.stack import Stack
from topout.models.architecture import total_parameters
from topout.models.config import ModelConfig, architecture_of
from topout.models.known import known_config_json
from topout.records import Rates, decode, encode

ROWS = (1, 5, 256)
NAMES = ["gpt2", "llama-2-7b", "llama-3.2-1b", "qwen2-0.5b", "qwen3-0.6b", "mistral-7b"]


def wanted(name: str) -> RatesRequest:
    """The rates of a known model's architecture, of what needs no compiler."""
    return msgspec.structs.replace(RatesRequest.like(name, 1), with_compile=False)


# --- overheads ---------------------------------------------------------------------------------


def overhead_of(
    monkeypatch: pytest.MonkeyPatch, times: Callable[[int], tuple[float, float]]
) -> Any:
    monkeypatch.setattr(calibrate, "tiny_times", lambda *arguments: times(arguments[-1]))
    return mode_overhead("decoder_eager", Stack.of(["static_cache"]), wanted("gpt2"))


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
    monkeypatch.setattr(calibrate, "tiny_times", lambda stack, *_: (1.0, times[tuple(stack.names)]))
    assert speculation_pass_time(wanted("gpt2")) == pytest.approx(0.1)


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
    assert total_parameters(architecture_of(config)) < 400_000
    assert config.context_len >= calibrate.TINY_PROMPT_LEN + calibrate.TINY_NEW_TOKENS + 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stack", [[], ["static_cache"], ["static_cache", "speculate_lookup"]])
def test_a_tiny_model_runs_in_every_mode(name: str, stack: list[str]) -> None:
    session = tiny_session(Stack.of(stack), wanted(name), 2)
    run = session.generate(torch.arange(calibrate.TINY_PROMPT_LEN)[None], 6)
    assert run.tokens.shape == (1, 6)


# --- all together -----------------------------------------------------------------------------


def test_all_rates_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_rates, "time_of", lambda *_: 1.0)
    sets = (MatrixSet(64, 32, 2, ROWS), MatrixSet(32, 64, 3, ROWS))
    monkeypatch.setattr(kernel_rates, "LIBRARY_SETS", sets)
    monkeypatch.setattr(calibrate, "tiny_times", lambda *arguments: (0.3, 0.2))
    found = measure_rates(wanted("gpt2"), CEILINGS, host_key="host", versions="torch 0")
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
