"""Sizes that no model has are refused by the name of their field, before anything is built."""

import json
import struct

import pytest

from topout.errors import InputError, WeightsError
from topout.generation.request import GenerationRequest, check_memory
from topout.models.architectures.read import read_architecture
from topout.models.checkpoint import read_header
from topout.models.config import ModelConfig
from topout.models.known import known_config_json
from topout.models.structure.build import build_on_meta, example_inputs
from topout.options import MOST_WHOLE
from topout.records import WorkloadSummary
from topout.verbs.cost_request import CostRequest

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "vocab_size": 256,
    "n_positions": 64,
}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "intermediate_size": 256,
}


@pytest.mark.parametrize("value", [10**18, 2**63, 10**400])
@pytest.mark.parametrize(
    ("config", "key"),
    [(GPT2, key) for key in GPT2 if key != "model_type"]
    + [(LLAMA, key) for key in LLAMA if key != "model_type"]
    + [(LLAMA, "num_key_value_heads"), (LLAMA, "head_dim"), (GPT2, "n_inner")],
)
def test_a_size_beyond_any_model_is_refused_by_its_name(config, key, value):
    with pytest.raises(InputError, match=rf"`{key}` is [19].*at most") as refused:
        read_architecture({**config, key: value}, "huge")
    assert len(str(refused.value)) < 250


def test_a_number_of_too_many_digits_is_refused():
    with pytest.raises(InputError, match="`n_embd` is a number of thousands of digits"):
        read_architecture({**GPT2, "n_embd": 10**5000}, "huge")


@pytest.mark.parametrize("name", ["gpt2-xl", "llama-2-70b", "t5-11b"])
def test_the_largest_models_are_within_the_bounds(name):
    assert read_architecture(known_config_json(name), name).width


@pytest.mark.parametrize(
    "request_of",
    [
        lambda n: CostRequest(batch_size=n),
        lambda n: CostRequest(prompt_len=n),
        lambda n: CostRequest(context_len=n),
        lambda n: GenerationRequest(batch_size=n),
        lambda n: GenerationRequest(prompt_len=n),
    ],
)
def test_a_count_beyond_any_workload_is_refused(request_of):
    assert request_of(MOST_WHOLE)
    with pytest.raises(InputError, match=r"out of range. It must be ≤ 2³¹ − 1"):
        request_of(MOST_WHOLE + 1)


def test_more_new_tokens_than_a_day_generates_are_refused():
    with pytest.raises(InputError, match="--new-tokens"):
        GenerationRequest(new_tokens=2**30)


def test_what_is_larger_than_the_memory_is_refused_with_both_figures():
    config = ModelConfig.from_hugging_face(GPT2, "small")
    workload = WorkloadSummary(
        task="generate",
        prompt_len=60,
        new_tokens=4,
        batch_size=3,
        threads=1,
        device="cpu",
        dtype="fp32",
        temperature=0.0,
        seed=0,
    )
    # A block: 64·192 + 192 + 64·64 + 64 + 2·64·256 + 256 + 64 + 4·64 = 49,984; two of them,
    # tables of 256 and 64 rows, the last norm: 120,576 parameters of 4 bytes. K and V of 2 layers,
    # 64 wide, of 3·64 tokens: 2·2·64·192·4 bytes.
    needed = 120_576 * 4 + 2 * 2 * 64 * 192 * 4
    check_memory(config, workload, needed)
    with pytest.raises(InputError, match="471 KiB for its weights and 192 KiB for the KV cache"):
        check_memory(config, workload, needed - 1)


def test_a_model_too_deep_to_be_built_is_refused():
    with pytest.raises(InputError, match=r"`n_layer` is 1001.*at most 1000"):
        build_on_meta({**GPT2, "n_layer": 1001}, "deep")
    resnet = {"model_type": "resnet", "depths": [900, 200]}
    with pytest.raises(InputError, match="`depths`"):
        build_on_meta(resnet, "deep")


def test_inputs_whose_size_overflows_are_refused():
    module = build_on_meta({**GPT2, "n_positions": 2**31}, "long")
    with pytest.raises(InputError, match="2147483647 × 2147483647 is larger than any machine"):
        example_inputs(module, MOST_WHOLE, MOST_WHOLE)


def _write(path, header: bytes, data: bytes = b"", header_bytes: int | None = None):
    size = len(header) if header_bytes is None else header_bytes
    path.write_bytes(struct.pack("<Q", size) + header + data)


def _tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# What the library refuses, and in the last five what it lets pass.
@pytest.mark.parametrize(
    ("header", "data_bytes"),
    [
        ({"a": _tensor([2], 0, 8), "b": _tensor([2], 4, 12)}, 12),
        ({"a": _tensor([2], 0, 8), "b": _tensor([2], 0, 8)}, 8),
        ({"a": _tensor([2], 0, 8)}, 4),
        ({"a": _tensor([2], 0, 8)}, 16),
        ({"a": _tensor([2], 8, 16)}, 16),
        ({"a": _tensor([2], 8, 0)}, 16),
        ({"a": _tensor([3], 0, 8)}, 8),
        ({"a": _tensor([2**40, 2**40], 0, 8)}, 8),
        ({"a": _tensor([2**62, 4], 0, 0)}, 0),
        ({"a": _tensor([2**64], 0, 8)}, 8),
        ({"a": _tensor([-2], 0, 8)}, 8),
        ({"a": _tensor([1] * 8 + [2], 0, 8)}, 8),
        ({"a": _tensor([1] * 1000 + [2], 0, 8)}, 8),
        ({"a": _tensor([2**63, 0], 0, 0)}, 0),
        ({"a": _tensor([0, 2**63], 0, 0)}, 0),
    ],
)
def test_a_header_that_contradicts_its_file_is_refused(header, data_bytes, tmp_path):
    path = tmp_path / "model.safetensors"
    _write(path, json.dumps(header).encode(), bytes(data_bytes))
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        read_header(path)


def test_a_tensor_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    twice = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": '
    _write(path, twice + b'{"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}', bytes(8))
    with pytest.raises(WeightsError, match="'a' stands twice"):
        read_header(path)


@pytest.mark.parametrize("header_bytes", [2**63, 2**32, (32 << 20) + 1, 3])
def test_a_header_that_is_larger_than_any_is_refused(header_bytes, tmp_path):
    path = tmp_path / "model.safetensors"
    _write(path, json.dumps({"a": _tensor([2], 0, 8)}).encode(), bytes(8), header_bytes)
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        read_header(path)


def test_eight_dimensions_are_read(tmp_path):
    path = tmp_path / "model.safetensors"
    _write(path, json.dumps({"a": _tensor([1] * 7 + [2], 0, 8)}).encode(), bytes(8))
    assert read_header(path)["a"].shape == (1, 1, 1, 1, 1, 1, 1, 2)
