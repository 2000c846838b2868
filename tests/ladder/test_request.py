"""Every option that cannot be meant is refused by its name."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.errors import InputError
from topout.ladder.request import ClimbRequest, default_prompt_len
from topout.models.config import ModelConfig
from topout.models.known import known_config

GPT2 = known_config("gpt2")


def with_context(context_len: int) -> ModelConfig:
    return msgspec.structs.replace(GPT2, context_len=context_len)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("new_tokens", 1, "--new-tokens 1"),
        ("new_tokens", -5, "--new-tokens -5"),
        ("batch_size", 0, "--batch-size 0"),
        ("prompt_len", 0, "--prompt-len 0"),
        ("threads", 0, "--threads 0"),
        ("top_k", 0, "--top-k 0"),
        ("temperature", -0.1, "--temperature -0.1"),
        ("temperature", float("nan"), "--temperature nan"),
        ("temperature", float("inf"), "--temperature inf"),
        ("max_loss", -0.01, "--max-loss -0.01"),
        ("max_loss", float("nan"), "--max-loss nan"),
        ("max_loss", float("inf"), "--max-loss inf"),
        ("seed", -1, "--seed -1"),
        ("seed", 2**63, "--seed 9223372036854775808"),
        ("device", "tpu", "'tpu'"),
        ("dtype", "fp8", "'fp8'"),
        ("dtype", "int8", "'int8'"),
        ("time_per_rung_s", 0.0, "--time-per-rung 0"),
        ("time_per_rung_s", float("nan"), "--time-per-rung nan"),
        ("rung_timeout_s", -1.0, "--rung-timeout -1"),
    ],
)
def test_a_bad_option_is_named_with_a_remedy(option: str, value: Any, message: str) -> None:
    request = ClimbRequest(model="gpt2", **{option: value})
    with pytest.raises(InputError) as caught:
        request.check()
    assert message in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"new_tokens": 2, "batch_size": 1, "prompt_len": 1, "threads": 1, "top_k": 1},
        {"temperature": 0.8, "max_loss": 0.0, "device": "cuda", "dtype": "bf16"},
        {"time_per_rung_s": 0.1, "rung_timeout_s": 1.0, "dtype": "fp32", "seed": 2**63 - 1},
    ],
)
def test_good_options_pass(options: dict[str, Any]) -> None:
    ClimbRequest(model="gpt2", **options).check()


# --- the prompt -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context_len", "new_tokens", "prompt_len"),
    [
        (1024, 128, 835),  # 835 + 128 + 16 = 979
        (979, 128, 835),
        (978, 128, 489),  # one too few: half of the context
        (512, 128, 256),
        (128, 100, 12),  # 128 − 100 − 16 is less than half
        (64, 60, 1),
    ],
)
def test_the_default_prompt(context_len: int, new_tokens: int, prompt_len: int) -> None:
    assert default_prompt_len(with_context(context_len), new_tokens) == prompt_len


@settings(max_examples=50, deadline=None)
@given(st.integers(18, 10_000), st.integers(2, 2000))
def test_the_default_prompt_fits_where_any_does(context_len: int, new_tokens: int) -> None:
    config = with_context(context_len)
    request = ClimbRequest(model="gpt2", new_tokens=new_tokens)
    if new_tokens < context_len:
        length = request.prompt_len_for(config)
        assert 1 <= length <= context_len - new_tokens
    else:
        with pytest.raises(InputError, match=f"context of {context_len} tokens"):
            request.prompt_len_for(config)


def test_a_prompt_must_fit_the_context() -> None:
    fits = ClimbRequest(model="gpt2", prompt_len=1000, new_tokens=24)
    assert fits.prompt_len_for(GPT2) == 1000
    longer = ClimbRequest(model="gpt2", prompt_len=1001, new_tokens=24)
    with pytest.raises(InputError, match=r"1001 and 24 new tokens .* context of 1024"):
        longer.prompt_len_for(GPT2)


# --- threads ----------------------------------------------------------------------------------


def test_threads_default_to_what_may_be_used() -> None:
    assert ClimbRequest(model="gpt2").threads_for(6) == 6
    assert ClimbRequest(model="gpt2", threads=2).threads_for(6) == 2
    with pytest.raises(InputError, match="--threads 7 is more than the 6 CPUs"):
        ClimbRequest(model="gpt2", threads=7).threads_for(6)


def test_a_request_survives_its_file() -> None:
    request = ClimbRequest(model="gpt2", dtype="bf16", rungs=["bf16"], top_k=5, temperature=0.5)
    assert msgspec.json.decode(msgspec.json.encode(request), type=ClimbRequest) == request
