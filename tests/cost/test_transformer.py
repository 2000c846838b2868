"""FLOPs and bytes of a pass, counted by hand; the sums stand in the comments."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.cost.ops import Op
from topout.cost.passes import head_ops, kv_elements, pass_ops
from topout.cost.transformer import Habits
from topout.cost.transformer import linear_shapes as shapes_of_block
from topout.models.architectures.decoder import architecture_of
from topout.models.architectures.read import read_architecture
from topout.models.config import ModelConfig
from topout.models.known import known_config, known_config_json

from .small_config import SMALL, small

GPT2 = known_config("gpt2")  # 12 layers, 768 wide, 12 heads of 64, 50257 tokens
LLAMA_2_7B = known_config("llama-2-7b")
LLAMA_3_8B = known_config("llama-3-8b")

brief = settings(max_examples=50, deadline=None)


def needed(ops: list[Op]) -> float:
    """FLOPs of matrix products and attention, which is what is published as a model's FLOPs."""
    return sum(op.flops for op in ops if op.kind in ("linear", "attention"))


def weights(ops: list[Op]) -> int:
    return sum(op.weight_elements for op in ops)


def linear_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    return shapes_of_block(architecture_of(config).blocks[0])


def kept(config: ModelConfig, batch_size: int, context_len: int) -> int:
    return kv_elements(architecture_of(config), batch_size, context_len)


def prefill(config: ModelConfig, prompt_len: int, **more: int) -> list[Op]:
    defaults = {"batch_size": 1, "logits_rows": 1}
    return pass_ops(
        architecture_of(config),
        new_tokens=prompt_len,
        context_len=prompt_len,
        **(defaults | more),  # type: ignore[arg-type]
    )


def decode(config: ModelConfig, context_len: int, batch_size: int = 1) -> list[Op]:
    return pass_ops(
        architecture_of(config),
        batch_size=batch_size,
        new_tokens=1,
        context_len=context_len,
        logits_rows=1,
    )


def op_of(ops: list[Op], name: str) -> Op:
    (found,) = [op for op in ops if op.name == name]
    return found


# --- published models -------------------------------------------------------------------------


def test_gpt2_prefill_of_835_tokens() -> None:
    ops = prefill(GPT2, 835)
    # Per layer: qkv 2304·768 = 1,769,472; out 768·768 = 589,824; up and down 3072·768 = 2,359,296
    # each; together 7,077,888. Twelve layers: 84,934,656, twice per token: 2·835·84,934,656.
    assert sum(op_of(ops, name).flops for name in linear_shapes(GPT2)) == 141_840_875_520
    # The last position alone gets logits: 2·50257·768.
    assert op_of(ops, "head").flops == 77_194_752
    # 12 layers · 835·836/2 pairs of query and key · 4·12·64.
    assert op_of(ops, "attention").flops == 12_866_641_920
    assert needed(ops) == 154_784_712_192
    # Elements read: the layers' weights and the head; 12·2·768 per position of keys and values.
    assert weights(ops) == 84_934_656 + 38_597_376
    # Read, and written before.
    assert op_of(ops, "attention").kv_elements == 2 * 12 * 2 * 768 * 835


def test_gpt2_decode_of_one_token() -> None:
    ops = decode(GPT2, 900)
    # 2·(84,934,656 + 38,597,376) and 12 layers · 900 keys · 4·768.
    assert needed(ops) == 247_064_064 + 33_177_600
    assert weights(ops) == 123_532_032


def test_llama_decode_reads_every_weight_but_the_embedding() -> None:
    ops = decode(LLAMA_2_7B, 1)
    # Per layer: qkv 3·4096² = 50,331,648; out 16,777,216; gate and up 2·11008·4096 = 90,177,536;
    # down 45,088,768; together 202,375,168. Times 32, and the head 32000·4096 = 131,072,000.
    assert weights(ops) == 6_607_077_376
    # Of 6,738,415,616 parameters that leaves out the embedding (131,072,000) and 65 norms of 4096.
    assert weights(ops) == LLAMA_2_7B.parameters().total - 131_072_000 - 65 * 4096
    assert 2 * weights(ops) == 13_214_154_752  # bytes in bf16


def test_grouped_queries_shrink_keys_and_values() -> None:
    # Llama-3-8B: 32 heads and 8 key/value heads of 128, 32 layers.
    assert linear_shapes(LLAMA_3_8B)["qkv"] == (4096 + 2 * 1024, 4096)
    # 2 (K and V) · 32 layers · 8 heads · 128 = 65,536 elements per token.
    assert kept(LLAMA_3_8B, 1, 1) == 65_536
    assert kept(LLAMA_2_7B, 1, 1) == 4 * 65_536
    # The FLOPs of attention are those of the query heads: 32 layers · 4·32·128 per pair.
    assert op_of(decode(LLAMA_3_8B, 10), "attention").flops == 32 * 10 * 4 * 32 * 128


def test_kv_cache_bytes() -> None:
    # GPT-2 in fp32 at 1024 tokens, batch 2: 2·12·768·4·1024·2 bytes = 144 MiB.
    assert 4 * kept(GPT2, 2, 1024) == 144 << 20


# --- what counts as what ----------------------------------------------------------------------


def test_a_gated_mlp_has_three_matrices() -> None:
    plain, gated = small(), small(gated_mlp=True)
    assert linear_shapes(plain)["mlp_up"] == (40, 10)
    assert linear_shapes(gated)["mlp_up"] == (80, 10)
    # 4·b·s·h·f plain and 6·b·s·h·f gated, in 2 layers.
    for config, factor in ((plain, 4), (gated, 6)):
        ops = prefill(config, 7, batch_size=3)
        mlp = op_of(ops, "mlp_up").flops + op_of(ops, "mlp_down").flops
        assert mlp == 2 * factor * 3 * 7 * 10 * 40


def test_the_embedding_is_no_product() -> None:
    """The vocabulary counts once, in the head, and there per row of logits."""
    small_vocab, large_vocab = small(vocab_size=100), small(vocab_size=1100)
    one = needed(prefill(large_vocab, 5)) - needed(prefill(small_vocab, 5))
    assert one == 2 * 1000 * 10
    two = needed(prefill(large_vocab, 5, logits_rows=2)) - needed(
        prefill(small_vocab, 5, logits_rows=2)
    )
    assert two == 2 * one


def test_logits_of_all_positions() -> None:
    last, every = prefill(GPT2, 10), prefill(GPT2, 10, logits_rows=10)
    assert op_of(every, "head").rows == 10
    assert needed(every) - needed(last) == 9 * 2 * 50257 * 768
    assert weights(every) == weights(last)  # the weights are read once


def test_elementwise_ops_walk_over_activations() -> None:
    ops = prefill(SMALL, 3)
    # 5 norms read and write 3·10; 4 sums read two and write one; 2 activations read and write 3·40.
    assert op_of(ops, "norms").activation_elements == 5 * 2 * 30
    assert op_of(ops, "residuals").activation_elements == 4 * 3 * 30
    assert op_of(ops, "activation").activation_elements == 2 * 2 * 120
    gated = op_of(prefill(small(gated_mlp=True), 3), "activation")
    assert gated.activation_elements == 2 * 3 * 120  # gate and up read, one written


def test_what_an_implementation_adds() -> None:
    plain = decode(SMALL, 8)
    assert all(op.kind != "copy" for op in plain)
    ops = pass_ops(
        architecture_of(SMALL),
        batch_size=1,
        new_tokens=1,
        context_len=8,
        logits_rows=1,
        habits=Habits(gelu_passes=8, kv_copies=1.0),
    )
    # The cache of 2·2·10·8 = 320 elements is read and written.
    assert op_of(ops, "kv_copy").kv_elements == 640
    assert op_of(ops, "kv_copy").flops == 0
    activations = [op_of(each, "activation").activation_elements for each in (plain, ops)]
    assert activations[1] == 8 * activations[0]
    assert needed(ops) == needed(plain)


# --- formulas ---------------------------------------------------------------------------------

sizes = st.integers(1, 40)


@brief
@given(sizes, sizes, sizes, sizes, sizes, st.integers(1, 8))
def test_the_closed_formula(
    batch: int, length: int, head_size: int, layers: int, vocab: int, heads: int
) -> None:
    """24·b·s·h²·L·(1 + (s + 1)/(12h) + V/(12·L·h)) where a = k, f = 4h and all get logits.

    The published formula has s/(6h), full attention: causal attention leaves (s + 1)/2 of s keys.
    """
    width = heads * head_size
    config = small(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size,
        mlp_width=4 * width,
        vocab_size=vocab,
    )
    ops = prefill(config, length, batch_size=batch, logits_rows=length)
    h, s, b, V, L = width, length, batch, vocab, layers
    closed = 24 * b * s * h**2 * L * (1 + (s + 1) / (12 * h) + V / (12 * L * h))
    assert needed(ops) == pytest.approx(closed, rel=1e-12)


@brief
@given(sizes, sizes, st.integers(1, 4))
def test_a_pass_is_the_sum_of_its_tokens(new: int, past: int, batch: int) -> None:
    """Causal attention: a chunk costs what its tokens cost one after the other."""
    whole = pass_ops(
        architecture_of(SMALL),
        batch_size=batch,
        new_tokens=new,
        context_len=past + new,
        logits_rows=new,
    )
    singly = sum(needed(decode(SMALL, past + i + 1, batch)) for i in range(new))
    assert needed(whole) == singly


@brief
@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_decode_is_linear_in_the_context(context: int, more: int) -> None:
    near, far = decode(GPT2, context), decode(GPT2, context + more)
    assert needed(far) - needed(near) == more * 12 * 4 * 768
    moved = [op_of(ops, "attention").kv_elements for ops in (near, far)]
    assert moved[1] - moved[0] == more * 2 * 12 * 768
    assert weights(near) == weights(far)


@brief
@given(st.integers(1, 64), st.integers(1, 64))
def test_a_batch_shares_the_weights_and_nothing_else(batch: int, context: int) -> None:
    one, many = decode(SMALL, context), decode(SMALL, context, batch)
    assert weights(many) == weights(one)
    assert needed(many) == batch * needed(one)
    attention = [op_of(ops, "attention").kv_elements for ops in (one, many)]
    assert attention[1] == batch * attention[0]


@brief
@given(st.integers(2, 2000))
def test_attention_is_not_forgotten_in_a_long_prompt(length: int) -> None:
    """Twice the prompt is more than twice the work."""
    once, twice = needed(prefill(GPT2, length)), needed(prefill(GPT2, 2 * length))
    head = 2 * 50257 * 768
    assert twice - head > 2 * (once - head)


@pytest.mark.parametrize("kind", ["gpt2", "grouped"])
def test_pytorchs_own_counter_agrees(kind: str) -> None:
    """An independent count of our decoder; PyTorch counts attention in full, not causally."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from topout.models.decoder import Decoder

    grouped = {"gated_mlp": True, "kv_heads": 1, "norm": "rms_norm", "positions": "rope"}
    config = small(width=12, head_size=6, **(grouped if kind == "grouped" else {}))
    length, batch = 9, 2
    decoder = Decoder(config).requires_grad_(False)
    # The plain backend, since the fused one of a CPU is not counted at all.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as it:
        decoder(torch.zeros(batch, length, dtype=torch.int64), torch.arange(length))
    ops = prefill(config, length, batch_size=batch, logits_rows=length)
    # Full attention has length² pairs of query and key, causal attention (length² + length)/2.
    full_attention = op_of(ops, "attention").flops * 2 * length / (length + 1)
    assert it.get_total_flops() == needed(ops) - op_of(ops, "attention").flops + full_attention


def test_a_head_with_a_norm_walks_over_its_output() -> None:
    """BERT's masked-language head: a transform of 768 to 768 with a norm, then the vocabulary."""
    config = known_config_json("bert-base-uncased") | {"architectures": ["BertForMaskedLM"]}
    ops = head_ops(read_architecture(config, "bert"), 2, 5)
    (norm,) = [op for op in ops if op.part == "norms"]
    assert norm.activation_elements == 2 * (2 * 5 * 768)
    assert sum(op.flops for op in ops if op.is_product) == 2 * 10 * 768 * (768 + 30522)
