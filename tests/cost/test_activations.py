"""What a block keeps for backward: against the published formula, and against autograd itself."""

import hypothesis.strategies as st
import msgspec
import pytest
import torch
from hypothesis import given, settings

from tests.cost import small_models
from tests.cost.example_architectures import GPT2, LLAMA_2_7B, MIXTRAL, T5_SMALL
from tests.cost.live_bytes import saved_bytes
from topout.cost.activations import block_activations, block_input, convolution_activations
from topout.cost.parallel import device_share
from topout.cost.saved_tensors import SavedTensor, device_bytes
from topout.cost.training import TrainingStep
from topout.cost.training_memory import (
    embedding_activations,
    final_activations,
    loss_activations,
)
from topout.errors import InputError
from topout.models.architecture import Architecture

brief = settings(max_examples=50, deadline=None)


def step(batch: int = 1, length: int = 1, **more: object) -> TrainingStep:
    return TrainingStep(batch_size=batch, sequence_len=length, **more)  # type: ignore[arg-type]


def of_block(architecture: Architecture, setting: TrainingStep) -> list[SavedTensor]:
    share = device_share(architecture, setting.tensor_parallel)
    return block_activations(share, share.blocks[0], setting)


def named(tensors: list[SavedTensor], name: str) -> int:
    found = [tensor.bytes for tensor in tensors if tensor.name == name]
    assert found, f"{name} is not among {[tensor.name for tensor in tensors]}"
    return sum(found)


# --- the published formula ----------------------------------------------------------------------


def published(setting: TrainingStep) -> int:
    """Bytes of one GPT-2 block without the norms' statistics, which the paper leaves out."""
    tensors = of_block(GPT2, setting)
    counted = [tensor for tensor in tensors if not tensor.name.endswith("statistics")]
    assert len(tensors) == len(counted) + 2
    return device_bytes(counted, setting)


sizes = st.integers(1, 300)


@brief
@given(sizes, sizes)
def test_gpts_block_is_the_papers(b: int, s: int) -> None:
    """sbh(34 + 5as/h), arXiv 2205.05198, equation 1: fused kernels, dropout, 16 bit, scores."""
    setting = step(b, s, dropout=True, fused_attention=False)
    assert published(setting) == s * b * (34 * 768 + 5 * 12 * s)


@brief
@given(sizes, sizes, st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_tensor_parallelism_is_the_papers(b: int, s: int, t: int) -> None:
    """Equation 2, sbh(10 + 24/t + 5as/(ht)), and 4, sbh/t·(34 + 5as/h) with the sequence split."""
    setting = step(b, s, dropout=True, fused_attention=False, tensor_parallel=t)
    whole, split = 10 * 768 * s * b, (24 * 768 + 5 * 12 * s) * s * b // t
    assert published(setting) == whole + split
    along = msgspec.structs.replace(setting, sequence_parallel=True)
    # The shares of the six tensors along the sequence are rounded up to whole bytes.
    assert 0 <= published(along) - (whole / t + split) < 6


@brief
@given(sizes, sizes)
def test_recomputation_is_the_papers(b: int, s: int) -> None:
    """Selective: 34sbh. Full: 2sbh, the block's input."""
    setting = step(b, s, dropout=True, fused_attention=False)
    kept = [
        tensor
        for tensor in of_block(GPT2, setting)
        if not tensor.core and not tensor.name.endswith("statistics")
    ]
    assert device_bytes(kept, setting) == 34 * s * b * 768
    assert block_input(GPT2, GPT2.blocks[0], setting).bytes == 2 * s * b * 768


def test_logits_are_the_papers() -> None:
    """4sbv of logits in fp32, and 2sbh each of the last norm's and the head's input."""
    setting = step(2, 8)
    assert named(loss_activations(GPT2, setting), "loss.log_softmax") == 4 * 16 * 50257
    final = final_activations(GPT2, setting)
    assert named(final, "final_norm.input") == named(final, "head.input") == 2 * 16 * 768


# --- hand counts --------------------------------------------------------------------------------


def test_a_llama_block_of_4096_tokens() -> None:
    tensors = of_block(LLAMA_2_7B, step(1, 4096))
    # bf16: norm inputs 2·4096·4096·2 = 67,108,864; their roots 2·4096·4 = 32,768;
    # inputs of QKV and MLP 67,108,864; Q, K, V 3·33,554,432 = 100,663,296;
    # log-sum-exp 4096·32·4 = 524,288; attention's output 33,554,432;
    # gate, up and their product 3·4096·11008·2 = 270,532,608.
    parts = [67_108_864, 32_768, 67_108_864, 100_663_296, 524_288, 33_554_432, 270_532_608]
    assert sum(tensor.bytes for tensor in tensors) == sum(parts) == 539_525_120


def test_scores_grow_with_the_square_of_the_length() -> None:
    once, twice = (of_block(GPT2, step(1, n, fused_attention=False)) for n in (100, 200))
    # 12 heads · 100² · 2 bytes.
    assert named(once, "attention.softmax") == 240_000
    assert named(twice, "attention.softmax") == 960_000
    fused = [sum(t.bytes for t in of_block(GPT2, step(1, n))) for n in (100, 200)]
    assert fused[1] == 2 * fused[0]


def test_grouped_queries_keep_small_keys_and_values() -> None:
    # Mixtral: 32 heads, 8 key/value heads of 128: 2·8·128·2 bytes a token.
    assert named(of_block(MIXTRAL, step()), "attention.keys_and_values") == 4096
    # transformers' unfused attention repeats them for all 32 heads.
    repeated = of_block(MIXTRAL, step(implementation="eager", fused_attention=False))
    assert named(repeated, "attention.keys_and_values") == 4 * 4096
    # Two devices hold 4 key/value heads each; 16 devices hold one each, twice over.
    assert named(of_block(MIXTRAL, step(tensor_parallel=2)), "attention.keys_and_values") == 2048
    assert named(of_block(MIXTRAL, step(tensor_parallel=16)), "attention.keys_and_values") == 512


def test_a_token_goes_through_two_experts() -> None:
    tensors = of_block(MIXTRAL, step())
    # Two rows: 2·4096·2 bytes sent; of gate, up and product each 2·14336·2.
    assert named(tensors, "mlp.rows_sent") == 16_384
    gated = ("mlp.activation_input", "mlp.other_factor", "mlp.second_input")
    assert [named(tensors, name) for name in gated] == [57_344] * 3


def test_cross_attention_looks_at_the_encoders_tokens() -> None:
    decoder = T5_SMALL.blocks[1]
    tensors = block_activations(T5_SMALL, decoder, step(2, 30, target_len=5))
    # Queries: 2·5 tokens · 512 · 2 bytes. Keys and values: 2·30 tokens · 2·512 · 2 bytes.
    assert named(tensors, "cross_attention.queries") == 10_240
    assert named(tensors, "cross_attention.keys_and_values") == 122_880
    # Learned biases keep self-attention from being fused: 8 heads · 2 · 5² · 2 bytes.
    assert named(tensors, "attention.softmax") == 800
    final = final_activations(T5_SMALL, step(2, 30, target_len=5))
    assert named(final, "encoder_output") == 2 * 30 * 512 * 2  # once for all six blocks


def test_32_bits_are_twice_16() -> None:
    tensors = [of_block(LLAMA_2_7B, step(1, 8, dtype=dtype)) for dtype in ("bf16", "fp32")]
    assert named(tensors[1], "mlp.input") == 2 * named(tensors[0], "mlp.input")
    # What is fp32 in any case: 8 tokens · 32 heads · 4 bytes.
    assert {named(each, "attention.log_sum_exp") for each in tensors} == {1024}


# --- against autograd ---------------------------------------------------------------------------

CASES = [
    ("gpt2", "eager", 0.1),
    ("gpt2", "sdpa", 0.0),
    ("llama", "eager", 0.1),
    ("llama", "eager", 0.0),
    ("llama", "sdpa", 0.0),
    ("qwen3", "sdpa", 0.0),
    ("gemma", "sdpa", 0.0),
    ("gemma3", "eager", 0.0),
    ("mixtral", "sdpa", 0.0),
    ("qwen2_moe", "sdpa", 0.0),
    ("bert", "eager", 0.1),
    ("bert", "sdpa", 0.0),
    ("roberta", "sdpa", 0.0),
    ("distilbert", "eager", 0.1),
    ("t5", "eager", 0.1),
    ("t5-gated", "eager", 0.1),
    ("vit", "eager", 0.1),
    ("vit", "sdpa", 0.0),
    ("resnet", "eager", 0.0),
]

# BERT takes the indices of its positions from a buffer, where others make them (10 tokens of 8
# bytes); RoBERTa makes those of positions and token types for each of the 3 sequences. Qwen2's
# router does not rescale its 2 choices: no sum and no first copy, in fp32, for 30 tokens, 2 layers;
# in bf16 the copy in order of experts is narrow.
_POSITIONS = 8 * small_models.LENGTH
DIFFERENCES = {
    "bert": -_POSITIONS,
    "distilbert": -_POSITIONS,
    "qwen2_moe": -2 * 30 * (1 + 2) * 4,
    "qwen2_moe bf16": -2 * 30 * ((1 + 2) * 4 + 2 * 2),
    "roberta": 2 * (small_models.BATCH - 1) * _POSITIONS,
}


def predicted(architecture: Architecture, setting: TrainingStep) -> int:
    tensors = [
        *embedding_activations(architecture, setting),
        *final_activations(architecture, setting),
        *loss_activations(architecture, setting),
        *convolution_activations(architecture, setting),
    ]
    for block in architecture.blocks:
        tensors += block.count * block_activations(architecture, block, setting)
    return device_bytes(tensors, setting)


def eager_step(dtype: str, attention: str, dropout: float) -> TrainingStep:
    return step(
        small_models.BATCH,
        small_models.LENGTH,
        target_len=small_models.TARGETS,
        dtype=dtype,
        implementation="eager",
        fused_attention=attention == "sdpa",
        dropout=dropout > 0,
        device="cpu",
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "attention", "dropout"), CASES)
def test_autograd_saves_what_is_predicted(
    family: str, attention: str, dropout: float, dtype: str
) -> None:
    """Whole models of transformers, embeddings to loss, to the byte."""
    torch_dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model, architecture = small_models.build(
        family, torch_dtype, attention=attention, dropout=dropout
    )
    arguments = small_models.inputs(family, torch_dtype)
    saved = saved_bytes(model, lambda: model(**arguments))
    difference = DIFFERENCES.get(f"{family} {dtype}", DIFFERENCES.get(family, 0))
    assert saved == predicted(architecture, eager_step(dtype, attention, dropout)) + difference


def test_autograd_refuses_a_wrong_prediction() -> None:
    """The check above can fail: with another length, dtype, or kind of attention it does."""
    model, architecture = small_models.build("llama", torch.float32)
    arguments = small_models.inputs("llama", torch.float32)
    saved = saved_bytes(model, lambda: model(**arguments))
    right = eager_step("fp32", "sdpa", 0.0)
    assert saved == predicted(architecture, right)
    for change in (
        {"sequence_len": 11},
        {"dtype": "bf16"},
        {"fused_attention": False},
        {"implementation": "fused"},
    ):
        assert saved != predicted(architecture, msgspec.structs.replace(right, **change))


def test_a_fused_implementation_keeps_less() -> None:
    for architecture in (GPT2, LLAMA_2_7B, MIXTRAL):
        fused, eager = (
            sum(tensor.bytes for tensor in of_block(architecture, step(1, 64, implementation=kind)))
            for kind in ("fused", "eager")
        )
        assert fused < eager


# --- properties and bad input -------------------------------------------------------------------


@brief
@given(sizes, sizes, st.booleans(), st.booleans())
def test_more_tokens_keep_more(b: int, s: int, fused: bool, dropout: bool) -> None:
    def bytes_of(batch: int, length: int) -> int:
        setting = step(batch, length, fused_attention=fused, dropout=dropout)
        return sum(tensor.bytes for tensor in of_block(GPT2, setting))

    assert bytes_of(b, s) < bytes_of(b, s + 1)
    assert bytes_of(b + 1, s) * b == bytes_of(b, s) * (b + 1)


@pytest.mark.parametrize("field", ["batch_size", "sequence_len", "target_len", "tensor_parallel"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_are_counts(field: str, value: int) -> None:
    fields = {"batch_size": 1, "sequence_len": 1} | {field: value}
    with pytest.raises(InputError, match=f"{field} is {value}. Give 1 or more"):
        TrainingStep(**fields)  # type: ignore[arg-type]


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="fp32, bf16, fp16"):
        step(dtype="int8")
