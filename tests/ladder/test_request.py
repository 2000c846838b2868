"""Every option of a climb that cannot be meant is refused by its name."""

from typing import Any

import msgspec
import pytest

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
    ("options", "dtype"),
    [({}, "fp32"), ({"device": "cuda"}, "bf16"), ({"device": "cuda", "dtype": "fp32"}, "fp32")],
)
def test_a_gpu_starts_from_bf16(options: dict[str, Any], dtype: str) -> None:
    request = ClimbRequest(model="gpt2", temperature=0.5, top_k=4, seed=7, **options)
    workload = request.workload(resolve_model("gpt2", random_weights=True).config, 2)
    assert (workload.dtype, workload.device) == (dtype, request.device)
    assert (workload.temperature, workload.top_k, workload.seed) == (0.5, 4, 7)
    assert (workload.prompt_len, workload.threads) == (835, 2)


def test_a_request_survives_its_file() -> None:
    request = ClimbRequest(model="gpt2", dtype="bf16", rungs=["bf16"], top_k=5, temperature=0.5)
    assert msgspec.json.decode(msgspec.json.encode(request), type=ClimbRequest) == request
