"""Every option that all verbs share is refused by its name where it cannot be meant."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.errors import InputError
from topout.generation.request import GenerationRequest, default_prompt_len
from topout.models.config import ModelConfig
from topout.models.source import resolve_model

GPT2 = resolve_model("gpt2", random_weights=True).config


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
        ("seed", -1, "--seed -1"),
        ("seed", 2**63, "--seed 9223372036854775808"),
        ("dtype", "fp8", "'fp8'"),
        ("dtype", "int8", "'int8'"),
    ],
)
def test_a_bad_option_is_named_with_a_remedy(option: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        GenerationRequest(model="gpt2", **{option: value}).check()
    assert message in caught.value.message
    assert caught.value.remedy


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
    request = GenerationRequest(model="gpt2", new_tokens=new_tokens)
    if new_tokens < context_len:
        length = request.prompt_len_for(config)
        assert 1 <= length <= context_len - new_tokens
    else:
        with pytest.raises(InputError, match=f"context of {context_len} tokens"):
            request.prompt_len_for(config)


def test_a_prompt_must_fit_the_context() -> None:
    fits = GenerationRequest(model="gpt2", prompt_len=1000, new_tokens=24)
    assert fits.prompt_len_for(GPT2) == 1000
    longer = GenerationRequest(model="gpt2", prompt_len=1001, new_tokens=24)
    with pytest.raises(InputError, match=r"1001 and 24 new tokens .* context of 1024"):
        longer.prompt_len_for(GPT2)


# --- threads ----------------------------------------------------------------------------------


def test_threads_default_to_what_may_be_used() -> None:
    assert GenerationRequest(model="gpt2").threads_for(6) == 6
    assert GenerationRequest(model="gpt2", threads=2).threads_for(6) == 2
    with pytest.raises(InputError, match="--threads 7 is more than the 6 CPUs"):
        GenerationRequest(model="gpt2", threads=7).threads_for(6)
