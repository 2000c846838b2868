"""Models counted by running their modules: held against transformers, hand counts, the formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from topout.cost.counted import counted_training_table
from topout.cost.memory import kv_bytes_per_token, kv_cache_bytes
from topout.cost.ops import Op, product_flops
from topout.cost.passes import encoder_ops, head_ops, pass_ops, source_projection_ops
from topout.cost.training import TrainingPlan, TrainingStep
from topout.cost.training_memory import training_table
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import (
    Architecture,
    KeptTensor,
    active_parameters,
    parameters_by_part,
    total_parameters,
)
from topout.models.architectures.read import FoundConfig, read_architecture
from topout.models.known import known_config_json
from topout.models.structure.build import build_on_meta
from topout.models.structure.steps import kept_parts
from topout.verbs.counted_model import ModulePasses, counted_model

from .small_architectures import ARCHITECTURES, small_config

B, S, T = 2, 40, 37
# Of each way to build a stack of layers one; all were compared once.
SKIPPED = ["olmo3", "deepseek_v3", "gpt_oss", "bamba", "mamba", "falcon", "bart", "gemma4_text"]


def found(model_type: str) -> FoundConfig:
    return FoundConfig(model_type, small_config(model_type))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_parameters_and_what_is_kept_are_those_of_transformers(model_type: str) -> None:
    architecture, counting = counted_model(found(model_type), "bf16")
    assert isinstance(counting, ModulePasses)
    module = build_on_meta(small_config(model_type), model_type)
    assert total_parameters(architecture) == sum(each.numel() for each in module.parameters())
    assert "other" not in parameters_by_part(architecture) or model_type in _WITH_OTHERS
    assert architecture.not_counted == []
    if architecture.kind in ("decoder", "encoder_decoder"):
        assert_kept(architecture, counting)
        ops = counting.decode(B, T, S)
        assert sum(op.kv_elements + op.fixed_bytes for op in ops) > 0
    else:
        ops = counting.forward(B, min(S, architecture.context_len or S))
    assert product_flops(ops) > 0
    assert {op.part for op in ops} & {"attention", "scan"}


# Parameters of a layer itself, and of what stands between the shared layers of Zamba and others.
_WITH_OTHERS = ("clip", "gemma4_text", "zamba2")


def assert_kept(architecture: Architecture, counting: ModulePasses) -> None:
    """All tensors that a run of all layers leaves are as many bytes as was said of them."""
    every = ModulePasses(counting.steps.module, skip=False)
    step = "primed" if architecture.kind == "encoder_decoder" else "prompt"
    left = kept_parts(every._run(step, B, T, S).result.kept)
    total = sum(part.tensor.numel() * part.tensor.element_size() for part in left)
    windows = [each for each in counting.kept if each.window is not None]
    # transformers keeps one token less than the window, which the next step makes room for.
    in_next_step = sum(each.per_token for each in windows if each.window and each.window <= T)
    said = kv_cache_bytes(architecture, B, T, 2, encoder_len=S)
    assert said == total + 2 * B * in_next_step


@pytest.mark.parametrize("model_type", SKIPPED)
def test_layers_that_are_skipped_are_counted_exactly(model_type: str) -> None:
    module = build_on_meta(small_config(model_type), model_type, "bf16")
    some, every = ModulePasses(module), ModulePasses(module, skip=False)
    for one, other in (
        (some.prefill(B, S), every.prefill(B, S)),
        (some.decode(B, T, S), every.decode(B, T, S)),
        (some.forward(B, S), every.forward(B, S)),
    ):
        assert figures(one) == figures(other)
    assert some.backward(B, S) == every.backward(B, S)
    assert some.count.parameters_by_part() == every.count.parameters_by_part()


def figures(ops: list[Op]) -> dict[Any, Any]:
    return {
        (op.name, op.part, op.kind, op.shape): (
            op.count,
            op.flops,
            op.weight_elements,
            op.activation_elements,
            op.kv_elements,
            op.fixed_bytes,
        )
        for op in ops
    }


BY_HAND: dict[str, list[KeptTensor]] = {
    # 5 layers of 4 heads of 16: K and V.
    "phi": [KeptTensor(per_token=5 * 2 * 64)],
    # 2 heads of keys and values of 16.
    "granite": [KeptTensor(per_token=5 * 2 * 2 * 16)],
    # Latents of 20 and one rotated key of 8 for all heads.
    "deepseek_v3": [KeptTensor(per_token=5 * (20 + 8))],
    # Layers 0, 2 and 4 see 8 tokens.
    "gpt_oss": [
        KeptTensor(per_token=3 * 2 * 2 * 16, window=8),
        KeptTensor(per_token=2 * 2 * 2 * 16),
    ],
    # 4 layers, inner width 128: the last 4 inputs of the convolution; states of 8, in fp32.
    "mamba": [
        KeptTensor(constant=4 * 128 * 4),
        KeptTensor(constant=4 * 128 * 8, own_bytes=4),
    ],
    # 4 layers that scan, whose convolution reads x, B and C: 128 + 8 + 8; 8 heads of 16 × 8; 2
    # layers of attention.
    "bamba": [
        KeptTensor(constant=4 * (128 + 2 * 8) * 4),
        KeptTensor(constant=4 * 8 * 16 * 8, own_bytes=4),
        KeptTensor(per_token=2 * 2 * 2 * 16),
    ],
    # 4 of 5 layers convolve over 3 inputs.
    "lfm2": [KeptTensor(constant=4 * 64 * 3), KeptTensor(per_token=2 * 2 * 16)],
    # 3 layers of the decoder, of its own tokens and of the encoder's.
    "bart": [
        KeptTensor(per_token=3 * 2 * 64),
        KeptTensor(per_token=3 * 2 * 64, of_source=True),
    ],
    # The encoder's tokens are 40 positions of sound, whatever was asked.
    "whisper": [KeptTensor(per_token=3 * 2 * 64), KeptTensor(constant=3 * 2 * 64 * 40)],
    "bert": [],
}


@pytest.mark.parametrize("model_type", [name for name in BY_HAND if name in ARCHITECTURES])
def test_what_is_kept_by_hand(model_type: str) -> None:
    _, counting = counted_model(found(model_type), "bf16")
    assert isinstance(counting, ModulePasses)
    assert counting.kept == BY_HAND[model_type]


def test_bytes_of_what_is_kept() -> None:
    mamba, _ = counted_model(found("mamba"), "bf16")
    # 2048 numbers of 2 bytes and 4096 of 4, of each sequence, whatever the context.
    assert kv_cache_bytes(mamba, 3, 10, 2) == kv_cache_bytes(mamba, 3, 900, 2) == 3 * 20_480
    assert kv_bytes_per_token(mamba, 2) == 0
    gpt_oss, _ = counted_model(found("gpt_oss"), "bf16")
    assert kv_cache_bytes(gpt_oss, 3, 100, 2) == 3 * 2 * (192 * 8 + 128 * 100)
    assert kv_bytes_per_token(gpt_oss, 1) == 192 + 128
    bart, _ = counted_model(found("bart"), "bf16")
    assert kv_cache_bytes(bart, 1, 5, 2, encoder_len=7) == 2 * 384 * (5 + 7)


def test_experts_that_a_token_does_not_choose_are_idle() -> None:
    architecture, _ = counted_model(found("deepseek_v3"), "bf16")
    # 4 layers of 8 experts, of which 2 are chosen: three matrices of 64 × 24 each.
    idle = 4 * 6 * 3 * 64 * 24
    assert total_parameters(architecture) - active_parameters(architecture) == idle


def test_experts_that_all_read_every_token_count_as_chosen() -> None:
    _, counting = counted_model(found("llama4_text"), "bf16")
    ops = [op for op in counting.decode(1, T, 0) if "experts" in op.name and op.kind == "linear"]
    # One expert a token: gate and up, then down.
    assert {op.flops / op.count for op in ops} == {2 * 64 * 2 * 96, 2 * 96 * 64}


FORMULAS = {
    "gpt2": "layer norms, learned positions",
    "llama-3.1-8b": "grouped queries",
    "gemma-2-2b": "windows in every other layer, four norms",
    "mixtral-8x7b": "experts",
    "qwen3-30b-a3b": "experts, norms of heads",
    "t5-small": "an encoder, a decoder, biases by distance",
    "bert-base-uncased": "an encoder",
}


@pytest.mark.parametrize("name", FORMULAS)
def test_runs_agree_with_the_formulas(name: str) -> None:
    config_json = known_config_json(name)
    by_formula = read_architecture(config_json, name)
    counted, counting = counted_model(FoundConfig(name, config_json), "bf16")
    assert total_parameters(counted) == total_parameters(by_formula)
    assert active_parameters(counted) == active_parameters(by_formula)
    assert kv_cache_bytes(counted, B, 300, 2, encoder_len=64) == kv_cache_bytes(
        by_formula, B, 300, 2, encoder_len=64
    )
    for count, formula in phases(by_formula, counting):
        assert product_flops(count) == pytest.approx(product_flops(formula), rel=1e-12)
        assert products(count) == products(formula)
        # Biases and scales are weights to a run, and nothing to the formulas.
        assert weights(count) == pytest.approx(weights(formula), rel=2e-3)
        if by_formula.kind == "decoder":
            assert sum(op.kv_elements for op in count) == sum(op.kv_elements for op in formula)


def phases(by_formula: Architecture, counting: Any) -> list[tuple[list[Op], list[Op]]]:
    """Each pass as it was counted, and by the formulas."""
    if by_formula.kind == "encoder":
        ops = encoder_ops(by_formula, B, 64) + head_ops(by_formula, B, 64)
        return [(counting.forward(B, 64), ops)]
    decoded = {"batch_size": B, "logits_rows": 1}
    first = {"new_tokens": 64, "context_len": 64}
    source: list[Op] = []
    if by_formula.kind == "encoder_decoder":
        source = encoder_ops(by_formula, B, 64) + source_projection_ops(by_formula, B, 64)
        decoded |= {"source_len": 64}
        first = {"new_tokens": 1, "context_len": 1}
    prefill = source + pass_ops(by_formula, **decoded, **first)
    decode = pass_ops(by_formula, **decoded, new_tokens=1, context_len=300)
    return [(counting.prefill(B, 64), prefill), (counting.decode(B, 300, 64), decode)]


def products(ops: list[Op]) -> int:
    return sum(op.count for op in ops if op.is_product)


def weights(ops: list[Op]) -> float:
    return sum(op.weight_elements for op in ops)


@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "mixtral-8x7b", "bert-base-uncased"])
def test_memory_in_training_agrees_with_the_formulas(name: str) -> None:
    config_json = known_config_json(name)
    by_formula = read_architecture(config_json, name)
    counted, counting = counted_model(FoundConfig(name, config_json), "bf16")
    step, plan = TrainingStep(batch_size=B, sequence_len=64), TrainingPlan()
    formula = training_table(by_formula, step, plan)
    count = counted_training_table(counted, counting.backward(B, 64), step, plan)
    for one, other in zip(count[:2], formula[:2], strict=True):  # without recomputing whole blocks
        assert one.activations_bytes == pytest.approx(other.activations_bytes, rel=0.01)
        assert one.errors_bytes == other.errors_bytes
        assert one.optimizer_bytes == other.optimizer_bytes
    assert count[2].activations_bytes == pytest.approx(formula[2].activations_bytes, rel=0.25)


def test_a_loop_over_tokens_is_continued_exactly() -> None:
    counting = ModulePasses(build_on_meta(small_config("mamba"), "mamba", "bf16"))
    counting.look()
    assert counting._piece is not None
    by_curve = counting._longer("prompt", B, 160, 0)
    assert by_curve is not None
    run = counting._run("prompt", B, 160).fused
    for one, other in zip(by_curve.kernels, run.kernels, strict=True):
        assert (one.path, one.kind) == (other.path, other.kind)
        assert one.flops == pytest.approx(other.flops)
        assert one.activation_bytes == pytest.approx(other.activation_bytes)


def test_a_model_that_transformers_lacks_is_refused_by_name() -> None:
    kimi = {"model_type": "kimi_k2", "auto_map": {"AutoModel": "modeling.py--KimiModel"}}
    with pytest.raises(UnsupportedError, match="kimi_k2"):
        counted_model(FoundConfig("kimi", kimi), "bf16")


def test_a_config_that_is_refused_says_why() -> None:
    config_json = small_config("phi") | {"hidden_act": "none of these"}
    with pytest.raises(InputError, match="transformers builds no phi"):
        counted_model(FoundConfig("phi", config_json), "bf16")


def test_a_model_that_sees_and_is_refused_says_why() -> None:
    config_json = small_config("mistral3") | {"multimodal_projector_bias": 3}
    with pytest.raises(InputError, match="transformers builds no mistral3"):
        counted_model(FoundConfig("mistral3", config_json), "bf16")


def test_a_module_that_looks_into_values_is_refused_with_the_op(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.models.phi.modeling_phi import PhiModel

    run: Callable[..., Any] = PhiModel.forward

    def peeking(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = run(self, *args, **kwargs)
        assert bool(torch.isfinite(result.last_hidden_state).all())
        return result

    monkeypatch.setattr(PhiModel, "forward", peeking)
    with pytest.raises(UnsupportedError, match="does not run on shapes alone"):
        counted_model(found("phi"), "bf16")
