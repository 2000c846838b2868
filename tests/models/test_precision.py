"""The one rule of precision: what is asked for, else what was published, else what stands in."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from tests.models.tiny import GPT2, GROUPED, make_tensors, write_model
from tests.report.example_climb import example_machine
from topout.errors import InputError
from topout.models.architectures.read import find_architecture, find_config
from topout.models.known import countable_names, known_config_json
from topout.models.precision import NOT_STATED, StandIn, precision_of, stand_ins, stated_dtype
from topout.models.source import resolve_model
from topout.records import Gpu, Machine

# By hand from the files of the hub: config.json, or the headers of the weights where it is silent.
PUBLISHED = {
    "fp16": "pycode-7m pycode-1m bundled llama-2-7b llama-2-13b llama-2-70b opt-125m opt-1.3b "
    "opt-6.7b opt-13b opt-30b opt-66b opt-175b bloom-560m bloom-7b1 gpt-neox-20b phi-2 "
    "deberta-v3-base whisper-large-v3 gpt-3",
    "bf16": "llama-3-8b llama-3-70b llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-3.2-1b "
    "llama-3.2-3b tinyllama-1.1b mistral-7b smollm2-135m smollm2-360m smollm2-1.7b "
    "qwen2-0.5b qwen2-1.5b qwen2-7b qwen2.5-0.5b qwen2.5-1.5b qwen2.5-3b qwen2.5-7b qwen2.5-14b "
    "qwen2.5-32b qwen2.5-72b qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b qwen3-14b qwen3-32b "
    "gemma-2b gemma-7b gemma-3-1b mixtral-8x7b mixtral-8x22b qwen1.5-moe-a2.7b qwen3-30b-a3b "
    "qwen3-235b-a22b bloom falcon-7b starcoder2-15b phi-3-mini phi-4 granite-3.3-8b smollm3-3b "
    "glm-4-9b glm-4.5-air glm-4.5 deepseek-v2-lite deepseek-v2 deepseek-v3 deepseek-r1 kimi-k2 "
    "gpt-oss-20b gpt-oss-120b qwen3-next-80b-a3b minimax-m2 llama-4-scout llama-4-maverick "
    "gopher chinchilla palm",
    "fp32": "distilgpt2 gpt2 gpt2-medium gpt2-large gpt2-xl gemma-2-2b gemma-2-9b gemma-2-27b "
    "bert-base-uncased bert-large-uncased distilbert-base-uncased roberta-base roberta-large "
    "xlm-roberta-base xlm-roberta-large t5-small t5-base t5-large t5-3b t5-11b flan-t5-small "
    "flan-t5-base flan-t5-large flan-t5-xl flan-t5-xxl vit-base-patch16-224 vit-large-patch16-224 "
    "resnet-18 resnet-34 resnet-50 resnet-101 resnet-152 gpt-j-6b mamba-2.8b olmo-2-7b "
    "modernbert-base albert-base-v2 bart-large mt5-base bert-base-cased bert-large-cased",
}


def test_every_known_name_has_the_precision_that_it_was_published_in() -> None:
    found: dict[str, list[str]] = {dtype: [] for dtype in PUBLISHED}
    for name in countable_names():
        found[str(stated_dtype(known_config_json(name), name))].append(name)
    assert {dtype: set(names) for dtype, names in found.items()} == {
        dtype: set(names.split()) for dtype, names in PUBLISHED.items()
    }


@pytest.mark.parametrize(
    ("config_json", "stated"),
    [
        ({}, None),
        ({"torch_dtype": None}, None),
        ({"torch_dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": "torch.float16"}, "fp16"),
        ({"dtype": "half"}, "fp16"),
        ({"dtype": "float32", "torch_dtype": "bfloat16"}, "fp32"),
        ({"torch_dtype": "float64"}, "fp64"),
        ({"torch_dtype": "banana"}, "banana"),
        # The whole of a composite before its text model, and both before what a product is in.
        ({"torch_dtype": "bfloat16", "text_config": {"torch_dtype": "float32"}}, "bf16"),
        (
            {"text_config": {"torch_dtype": "float16"}, "vision_config": {"dtype": "float32"}},
            "fp16",
        ),
        ({"vision_config": {"dtype": "bfloat16"}}, None),
        ({"quantization_config": {"bnb_4bit_compute_dtype": "bfloat16"}}, "bf16"),
        ({"quantization_config": {"compute_dtype": "float16"}}, "fp16"),
        ({"quantization_config": {"bits": 4}}, None),
        (
            {
                "torch_dtype": "float16",
                "quantization_config": {"bnb_4bit_compute_dtype": "bfloat16"},
            },
            "fp16",
        ),
    ],
)
def test_what_a_config_states(config_json: dict[str, Any], stated: str | None) -> None:
    assert stated_dtype(config_json, "mine") == stated


def test_a_precision_that_is_no_string_is_refused_by_its_field() -> None:
    with pytest.raises(InputError, match="`torch_dtype` is 16") as caught:
        stated_dtype({"torch_dtype": 16}, "mine")
    assert "mine" in caught.value.message and caught.value.remedy


def test_what_is_asked_for_goes_before_all() -> None:
    assert precision_of("m", "bf16", "fp32") == ("fp32", "as asked; published in bf16")
    assert precision_of("m", "bf16", "bf16") == ("bf16", "as asked")
    assert precision_of("m", None, "fp16") == ("fp16", "as asked")
    assert precision_of("m", "banana", "bf16") == ("bf16", "as asked; published in banana")
    in_place = {"bf16": StandIn("fp32", "which is not run here")}
    assert precision_of("m", "bf16", "bf16", in_place) == ("bf16", "as asked")


def test_without_a_wish_it_is_what_was_published() -> None:
    for dtype in ("fp32", "bf16", "fp16"):
        assert precision_of("m", dtype) == (dtype, "as published")
    assert precision_of("m", None) == ("fp32", NOT_STATED)
    in_place = {"bf16": StandIn("fp32", "which is not run here")}
    assert precision_of("m", "fp16", None, in_place) == ("fp16", "as published")
    assert precision_of("m", "bf16", None, in_place) == (
        "fp32",
        "published in bf16, which is not run here",
    )


@pytest.mark.parametrize("published", ["banana", "fp64", "float8_e4m3fn", ""])
def test_another_precision_is_refused_with_the_way_out(published: str) -> None:
    with pytest.raises(InputError) as caught:
        precision_of("mine", published)
    assert "mine" in caught.value.message and repr(published) in caught.value.message
    assert "--dtype" in str(caught.value.remedy)


def machine(*isa: str, capability: str | None = None) -> Machine:
    gpus = [Gpu(name="GPU", memory_bytes=1, compute_capability=capability)]
    return msgspec.structs.replace(example_machine(), vector_isa=list(isa), gpus=gpus)


@pytest.mark.parametrize(
    ("isa", "dtype", "origin"),
    [
        (["avx2", "avx512f"], "fp32", "published in bf16, for which this CPU has no unit"),
        (["avx512_fp16"], "fp32", "published in bf16, for which this CPU has no unit"),
        ([], "fp32", "published in bf16, for which this CPU has no unit"),
        (["avx512f", "avx512_bf16"], "bf16", "as published"),
        (["amx_bf16"], "bf16", "as published"),
        (["neon", "bf16"], "bf16", "as published"),
        (["sve", "svebf16"], "bf16", "as published"),
    ],
)
def test_a_cpu_runs_bf16_where_it_has_the_unit(isa: list[str], dtype: str, origin: str) -> None:
    in_place = stand_ins(machine(*isa), "cpu")
    assert precision_of("m", "bf16", None, in_place) == (dtype, origin)
    assert precision_of("m", "fp32", None, in_place) == ("fp32", "as published")
    fp16 = precision_of("m", "fp16", None, in_place)
    assert fp16 == ("fp32", "published in fp16, which is not run on CPUs")


@pytest.mark.parametrize(
    ("capability", "bf16", "fp16"),
    [
        ("9.0", "bf16", "bf16"),
        ("8.6", "bf16", "bf16"),
        ("10.0", "bf16", "bf16"),
        ("7.5", "fp32", "fp32"),
        (None, "bf16", "bf16"),
    ],
)
def test_a_gpu_runs_bf16_from_ampere_on(capability: str | None, bf16: str, fp16: str) -> None:
    in_place = stand_ins(machine(capability=capability), "cuda")
    assert precision_of("m", "bf16", None, in_place).dtype == bf16
    found = precision_of("m", "fp16", None, in_place)
    assert found.dtype == fp16 and found.origin.startswith("published in fp16, ")
    assert precision_of("m", "fp32", None, in_place) == ("fp32", "as published")


def in_dtype(folder: Path, dtype: torch.dtype, **fields: Any) -> Path:
    write_model(folder, GPT2 | fields)
    tensors = {name: tensor.to(dtype) for name, tensor in make_tensors(GPT2).items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float64, "fp64")],
)
def test_where_a_config_is_silent_the_weights_tell(
    dtype: torch.dtype, name: str, tmp_path: Path
) -> None:
    folder = in_dtype(tmp_path / "silent", dtype)
    assert find_architecture(str(folder)).published_dtype == name
    assert find_config(str(folder / "config.json")).published_dtype == name
    assert find_config(str(folder / "model.safetensors")).published_dtype == name
    assert resolve_model(str(folder)).published_dtype == name
    told = in_dtype(tmp_path / "told", dtype, torch_dtype="float32")
    assert find_architecture(str(told)).published_dtype == "fp32"
    assert resolve_model(str(told)).published_dtype == "fp32"
    # Random weights are stored nowhere.
    assert resolve_model(str(folder), random_weights=True).published_dtype is None


def test_a_config_alone_or_beside_broken_weights_states_what_it_states(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GROUPED))
    assert find_architecture(str(tmp_path)).published_dtype is None
    (tmp_path / "model.safetensors").write_bytes(b"\x08")
    assert find_architecture(str(tmp_path)).published_dtype is None
    (tmp_path / "config.json").write_text(json.dumps(GROUPED | {"torch_dtype": "bfloat16"}))
    assert find_architecture(str(tmp_path)).published_dtype == "bf16"


def test_integers_of_a_quantized_checkpoint_state_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GROUPED))
    packed = torch.zeros(64, dtype=torch.int32)
    save_file({"q": packed}, tmp_path / "model.safetensors")
    assert find_config(str(tmp_path)).published_dtype is None
    save_file({"q": packed, "scales": torch.zeros(2).half()}, tmp_path / "model.safetensors")
    assert find_config(str(tmp_path)).published_dtype == "fp16"
