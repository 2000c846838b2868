"""Models of transformers: nothing that matters is left out, on meta as on a CPU."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from topout.cost.graph import count
from topout.records.count import Count

from .one_op import flops_by_phase, torch_flops

_SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "vocab_size": 100,
}
_IDS = torch.zeros(2, 16, dtype=torch.long)
_IMAGE = torch.zeros(2, 3, 32, 32)


def build(name: str, attention: str, device: str) -> nn.Module:
    grouped = {**_SMALL, "num_key_value_heads": 2}
    sizes: dict[str, tuple[str, str, dict[str, Any]]] = {
        "gpt2": (
            "GPT2Config",
            "GPT2LMHeadModel",
            {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 100, "bos_token_id": 0}
            | {"eos_token_id": 0},
        ),
        "llama": ("LlamaConfig", "LlamaForCausalLM", grouped),
        "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**grouped, "num_local_experts": 4}),
        "bert": ("BertConfig", "BertModel", _SMALL),
        "t5": (
            "T5Config",
            "T5ForConditionalGeneration",
            {"num_layers": 2, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4}
            | {"vocab_size": 100},
        ),
        "vit": ("ViTConfig", "ViTModel", {**_SMALL, "image_size": 32, "patch_size": 8}),
        "resnet": (
            "ResNetConfig",
            "ResNetForImageClassification",
            {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        ),
    }
    config_name, model_name, options = sizes[name]
    if name != "resnet":
        options = {**options, "attn_implementation": attention}
    with torch.device(device):
        config = getattr(transformers, config_name)(**options)
        model: nn.Module = getattr(transformers, model_name)(config)
    return model.eval()


def inputs(name: str, device: str) -> dict[str, torch.Tensor]:
    if name in ("vit", "resnet"):
        return {"pixel_values": _IMAGE.to(device)}
    ids = _IDS.to(device)
    return {"input_ids": ids, "decoder_input_ids": ids} if name == "t5" else {"input_ids": ids}


def counted(name: str, attention: str, device: str) -> Count:
    result = count(
        build(name, attention, device),
        **inputs(name, device),
        backward=lambda output: output[0].sum(),
    )
    assert result.complete, result.failure
    assert result.not_counted == []
    return result


MODELS = ["gpt2", "llama", "bert", "t5", "vit", "resnet", "mixtral"]


@pytest.mark.parametrize("name", MODELS)
def test_meta_and_cpu_agree(name: str) -> None:
    on_meta, on_cpu = (counted(name, "sdpa", device) for device in ("meta", "cpu"))
    assert flops_by_phase(on_meta) == flops_by_phase(on_cpu)
    assert on_meta.total.causal_flops == on_cpu.total.causal_flops
    root = next(module for module in on_meta.modules if module.name == "")
    assert root.exclusive.get("backward") is None or root.exclusive["backward"].flops == 0


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mixtral"])
def test_equals_the_counter_of_torch_where_attention_is_unfused(name: str) -> None:
    model = build(name, "eager", "meta")
    own = counted(name, "eager", "meta")
    assert own.total.flops == torch_flops(lambda: model(**inputs(name, "meta"))[0], backward=True)


def test_gpt2_by_hand() -> None:
    forward = counted("gpt2", "sdpa", "meta").phases["forward"]
    tokens, width = 32, 32
    # Two layers of 12·width² weights, a head of 100·width; attention 2·2·16·16 a sequence and row.
    products = 2 * tokens * (2 * 12 * width**2 + 100 * width)
    attention = 2 * 2 * (2 * 2 * 16 * 16 * width)
    assert forward.flops == products + attention
    assert forward.causal_flops == products + attention * 17 // 32  # 16·17/2 of 256 pairs


def test_experts_by_hand() -> None:
    """2 of 4 experts for each of 32 tokens, each 3·32·64 weights."""
    result = counted("mixtral", "sdpa", "cpu")
    experts = [m for m in result.modules if m.name.endswith("experts")]
    assert len(experts) == 2
    for module in experts:
        assert module.inclusive["forward"].flops == 2 * (32 * 2) * 3 * 32 * 64


def test_a_large_model_is_counted_without_memory() -> None:
    """Llama-3-405B's shape, two of its layers."""
    config = transformers.LlamaConfig(
        num_hidden_layers=2,
        hidden_size=16384,
        intermediate_size=53248,
        num_attention_heads=128,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
        result = count(model, torch.zeros(1, 8192, dtype=torch.long, device="meta"))
    # Per layer 2·16384² + 2·16384·1024 + 3·16384·53248 weights; the head 128256·16384.
    weights = 2 * (2 * 16384**2 + 2 * 16384 * 1024 + 3 * 16384 * 53248) + 128256 * 16384
    attention = 2 * (2 * 2 * 8192 * 8192 * 16384)
    assert result.total.flops == 2 * 8192 * weights + attention
