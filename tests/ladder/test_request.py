"""Every option of a climb that cannot be meant is refused by its name."""

from typing import Any

import msgspec
import pytest

from tests.report.example_climb import example_machine
from topout.errors import InputError
from topout.ladder.request import ClimbRequest
from topout.models.source import resolve_model


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("top_k", 0, "--top-k 0"),
        ("temperature", -0.1, "--temperature -0.1"),
        ("temperature", float("nan"), "--temperature nan"),
        ("temperature", float("inf"), "--temperature inf"),
        ("max_loss", -0.01, "--max-loss -0.01"),
        ("max_loss", float("nan"), "--max-loss nan"),
        ("max_loss", float("inf"), "--max-loss inf"),
        ("device", "tpu", "'tpu'"),
        ("time_per_rung_s", 0.0, "--time-per-rung 0"),
        ("time_per_rung_s", float("nan"), "--time-per-rung nan"),
        ("rung_timeout_s", -1.0, "--rung-timeout -1"),
        ("new_tokens", 1, "--new-tokens 1"),
        ("dtype", "fp8", "'fp8'"),
    ],
)
def test_a_bad_option_is_named_with_a_remedy(option: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ClimbRequest(model="gpt2", **{option: value})
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


@pytest.mark.parametrize(
    ("model", "options", "dtype", "origin"),
    [
        ("gpt2", {}, "fp32", "as published"),
        ("gpt2", {"device": "cuda"}, "fp32", "as published"),
        ("gpt2", {"device": "cuda", "dtype": "bf16"}, "bf16", "as asked; published in fp32"),
        ("qwen3-8b", {}, "bf16", "as published"),
        ("qwen3-8b", {"device": "cuda"}, "bf16", "as published"),
        ("llama-2-7b", {}, "fp32", "published in fp16, which is not run on CPUs"),
        ("llama-2-7b", {"device": "cuda"}, "bf16", "published in fp16, which is not run here"),
    ],
)
def test_it_starts_from_what_was_published(
    model: str, options: dict[str, Any], dtype: str, origin: str
) -> None:
    machine = msgspec.structs.replace(example_machine(), vector_isa=["avx512_bf16"], usable_cpus=2)
    request = ClimbRequest(model=model, temperature=0.5, top_k=4, seed=7, **options)
    workload = request.workload(resolve_model(model, random_weights=True), machine)
    assert (workload.dtype, workload.dtype_origin) == (dtype, origin)
    assert workload.device == request.device
    assert (workload.temperature, workload.top_k, workload.seed) == (0.5, 4, 7)
    assert (workload.prompt_len, workload.threads) == (835, 2)


def test_a_request_survives_its_file() -> None:
    request = ClimbRequest(model="gpt2", dtype="bf16", rungs=["bf16"], top_k=5, temperature=0.5)
    assert msgspec.json.decode(msgspec.json.encode(request), type=ClimbRequest) == request
