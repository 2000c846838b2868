"""FLOPs and bytes of a pass, counted by hand; the sums stand in the comments."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.cost.ops import Op, other_flops, product_flops
from topout.cost.passes import (
    encoder_ops,
    full_pass_flops,
    full_pass_ops,
    head_ops,
    kv_elements,
    pass_ops,
    source_projection_ops,
)
from topout.cost.transformer import ExtraTraffic, attended_pairs, distinct_experts
from topout.cost.transformer import linear_shapes as shapes_of_block
from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Convolution,
    Embedding,
    Head,
    Mlp,
    total_parameters,
)
from topout.models.architectures.read import read_architecture
from topout.models.config import ModelConfig, architecture_of
from topout.models.known import known_config_json
from topout.models.source import resolve_model

from .small_config import SMALL, small


def known_config(name: str) -> ModelConfig:
    return resolve_model(name, random_weights=True).config


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
    assert weights(ops) == total_parameters(architecture_of(LLAMA_2_7B)) - 131_072_000 - 65 * 4096
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
        extra_traffic=ExtraTraffic(gelu_passes=8, kv_copies=1.0),
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


# --- whole passes by hand ---------------------------------------------------------------------

Figures = tuple[int, int, float, float, float, float]


def network(*blocks: Block, **changes: Any) -> Architecture:
    """Blocks of 10 with two tables of embeddings, a class token, and a head of 100."""
    fields: dict[str, Any] = {
        "name": "by-hand",
        "model_type": "none",
        "kind": "decoder",
        "counted_as": "none",
        "width": 10,
        "embeddings": [
            Embedding(name="tokens", rows=100, width=10),
            Embedding(name="positions", rows=64, width=10),
            Embedding(name="class_token", rows=1, width=10, lookup=False),
        ],
        "embedding_norm": "layer_norm",
        "blocks": list(blocks),
        "final_norms": 2,
        "heads": [Head(name="head", inputs=10, outputs=100, bias=False, per="token")],
    }
    return Architecture(**(fields | changes))


def attention_of(**changes: Any) -> Attention:
    """4 query heads and 2 key/value heads of 6: 24 and 12 outputs."""
    plain = Attention(heads=4, kv_heads=2, head_size=6, qkv_bias=False, out_bias=False, causal=True)
    return msgspec.structs.replace(plain, **changes)


GATED = Mlp(width=14, gated=True, bias=False, activation="silu")


def block_of(attention: Attention, mlp: Mlp = GATED, **changes: Any) -> Block:
    """Three blocks 10 wide."""
    plain = Block(
        name="block",
        count=3,
        width=10,
        attention=attention,
        mlp=mlp,
        norm="rms_norm",
        norm_bias=False,
    )
    return msgspec.structs.replace(plain, **changes)


def figures(ops: list[Op]) -> dict[str, Figures]:
    """By name: runs, rows, FLOPs, elements of weights, of activations and of the cache."""
    found = {
        op.name: (
            op.count,
            op.rows,
            op.flops,
            op.weight_elements,
            op.activation_elements,
            op.kv_elements,
        )
        for op in ops
    }
    assert len(found) == len(ops)
    return found


def test_every_op_of_a_chunk() -> None:
    """2 sequences, 5 new tokens each, 3 before them: T = 10 tokens, 8 keys; 3 logits each."""
    block = block_of(attention_of(qk_norm=True, rotary=True))
    ops = pass_ops(network(block), batch_size=2, new_tokens=5, context_len=8, logits_rows=3)
    # Linear layers of N·K: runs 3, FLOPs 2·3·10·N·K, weights 3·N·K, activations 3·10·(N + K).
    assert figures(ops) == {
        # Two tables are read and their sum written: 3·10·10 elements and 10·10 additions.
        "embedding": (1, 10, 100, 0, 300, 0),
        # 3 blocks of 2 norms, one of the embeddings, two in the end: 9, each over 10·10.
        "norms": (9, 10, 900, 0, 1800, 0),
        "qkv": (3, 10, 28_800, 1440, 1740, 0),  # 48·10
        # 24 + 12 of 10 tokens in 3 blocks = 1080, read and written; queries and keys apart.
        "qk_norms": (6, 10, 1080, 0, 2160, 0),
        "rope": (3, 10, 1080, 0, 2160, 0),
        # 4 + 5 + 6 + 7 + 8 = 30 pairs: 4·3·2·30·24. Queries and output 2·3·10·24. Keys and values
        # 2·3·2·12 = 144 a position, of 8 read and 5 written.
        "attention": (3, 5, 17_280, 0, 1440, 144 * 13),
        "attention_out": (3, 10, 14_400, 720, 1020, 0),  # 10·24
        "mlp_up": (3, 10, 16_800, 840, 1140, 0),  # 28·10
        # Gate and up of 14: 840 read, 420 written.
        "activation": (3, 10, 840, 0, 1260, 0),
        "mlp_down": (3, 10, 8400, 420, 720, 0),  # 10·14
        # Two sums a block over 10·10: 1200 read, 600 written.
        "residuals": (6, 10, 1200, 0, 1800, 0),
        # 2·3 rows: 2·6·100·10.
        "head": (1, 6, 12_000, 1000, 660, 0),
    }


@pytest.mark.parametrize(
    ("new", "context", "pairs", "moved"),
    [
        # 1 + 2 + 3 + 4 + 4 + 4 + 4 pairs; a prompt's keys are all read.
        (7, 7, 22, 7 + 7),
        # Positions 2 to 6 see 3, 4, 4, 4, 4.
        (5, 7, 19, 7 + 5),
        # All see a whole window; the first of them reaches 3 back, to position 3 of 9.
        (3, 9, 12, 6 + 3),
        # A decoded token reads the window and writes one.
        (1, 9, 4, 4 + 1),
        # As many tokens as the window: no token sees less than all before it.
        (4, 4, 10, 4 + 4),
        (1, 3, 3, 3 + 1),
    ],
)
def test_a_window_of_four_keys(new: int, context: int, pairs: int, moved: int) -> None:
    block = block_of(attention_of(window=4))
    ops = pass_ops(network(block), batch_size=2, new_tokens=new, context_len=context, logits_rows=1)
    attention = op_of(ops, "attention")
    # 4·3 blocks·2 sequences·24 a pair; 2·3·2·12 of keys and values a position.
    assert attention.flops == 576 * pairs
    assert attention.kv_elements == 144 * moved
    # The cache keeps no more than the window.
    assert kv_elements(network(block), 2, context) == 144 * min(context, 4)


def test_a_window_without_a_mask() -> None:
    assert attended_pairs(7, 7, 4, causal=False) == 28  # 7·4
    assert attended_pairs(7, 7, None, causal=False) == 49
    assert attended_pairs(3, 3, 4, causal=False) == 9


def test_every_op_of_a_mixture_with_a_shared_expert() -> None:
    """4 experts, 2 a token, of 3 tokens: 6 rows go to 4·(1 − (1 − 2/4)³) = 3.5 experts."""
    mlp = Mlp(
        width=14,
        gated=True,
        bias=False,
        activation="silu",
        experts=4,
        experts_per_token=2,
        shared_width=6,
    )
    assert distinct_experts(mlp, 3) == 3.5
    ops = pass_ops(
        network(block_of(attention_of(), mlp)),
        batch_size=3,
        new_tokens=1,
        context_len=5,
        logits_rows=1,
    )
    found = figures(ops)
    assert {name: found[name] for name in list(found)[5:-2]} == {
        # Linear layers that all tokens pass: 2·3·3·N·K, 3·N·K, 3·3·(N + K).
        "router": (3, 3, 720, 120, 126, 0),  # 4·10
        # 6 rows of 28·10 and of 10·14: 2·3·6·N·K; weights of 3.5 experts 3·3.5·N·K;
        # 3·6·(N + K). A matrix meets 6/3.5, about 2 rows.
        "mlp_up": (3, 2, 10_080, 2940, 684, 0),
        "activation": (3, 6, 504, 0, 756, 0),  # 3·6·14 = 252: two read, one written
        "mlp_down": (3, 2, 5040, 1470, 432, 0),
        "shared_up": (3, 3, 2160, 360, 198, 0),  # 12·10
        "shared_activation": (3, 3, 108, 0, 162, 0),  # 3·3·6 = 54: two read, one written
        "shared_down": (3, 3, 1080, 180, 144, 0),  # 10·6
        "shared_gate": (3, 3, 180, 30, 99, 0),  # 1·10
    }
    parts = {op.name: op.part for op in ops}
    assert parts["router"] == parts["shared_gate"] == "router"
    assert {parts[name] for name in ("mlp_up", "shared_up", "shared_down", "activation")} == {"mlp"}
    assert op_of(ops, "mlp_up").shape == "3.5 of 4 experts, 2×10 · 10×28"
    assert op_of(ops, "mlp_up").matrix_elements == 280


def test_a_mixture_that_is_not_gated() -> None:
    """Of one token: 1 of 4 experts, whose up has 14 outputs, and a shared one of 6."""
    mlp = Mlp(
        width=14,
        gated=False,
        bias=False,
        activation="gelu",
        experts=4,
        experts_per_token=1,
        shared_width=6,
    )
    one = network(block_of(attention_of(), mlp))
    ops = pass_ops(one, batch_size=1, new_tokens=1, context_len=5, logits_rows=1)
    found = figures(ops)
    assert found["mlp_up"] == (3, 1, 840, 420, 72, 0)  # 2·3·140, 3·140, 3·24
    assert found["activation"] == (3, 1, 42, 0, 84, 0)  # 3·14
    assert found["shared_up"] == (3, 1, 360, 180, 48, 0)  # 2·3·60, 3·60, 3·16
    assert found["shared_activation"] == (3, 1, 18, 0, 36, 0)  # 3·6
    without = msgspec.structs.replace(mlp, shared_width=0)
    plain = pass_ops(
        network(block_of(attention_of(), without)),
        batch_size=1,
        new_tokens=1,
        context_len=5,
        logits_rows=1,
    )
    assert [op.name for op in ops if op not in plain] == [
        "shared_up",
        "shared_activation",
        "shared_down",
        "shared_gate",
    ]


def encoder_decoder() -> Architecture:
    """Two encoder and three decoder blocks; only the latter cross to the source."""
    cross = attention_of(causal=False, cross=True, kv_heads=1)
    return network(
        block_of(attention_of(causal=False), name="encoder", count=2),
        block_of(attention_of(), name="decoder", cross_attention=cross, norms=3),
        kind="encoder_decoder",
        final_norms=1,
    )


def test_every_op_of_a_decoder_that_reads_an_encoder() -> None:
    """2 sequences, one new token each at context 4, a source of 7."""
    ops = pass_ops(
        encoder_decoder(), batch_size=2, new_tokens=1, context_len=4, logits_rows=1, source_len=7
    )
    found = figures(ops)
    assert {name: found[name] for name in list(found)[1:8]} == {
        # 3 blocks of 3 norms, one before and one after: 11 over 2·10.
        "norms": (11, 2, 220, 0, 440, 0),
        "qkv": (3, 2, 5760, 1440, 348, 0),
        # 4 keys each: 4·3·2·4·24; queries and output 2·3·2·24; 2·3·2·12 = 144 a position, 4 + 1.
        "attention": (3, 1, 2304, 0, 288, 720),
        "attention_out": (3, 2, 2880, 720, 204, 0),
        "cross_q": (3, 2, 2880, 720, 204, 0),  # 24·10
        # 7 keys each: 4·3·2·7·24; 2·3·2·6 = 72 a position of the one key/value head, none written.
        "cross_attention": (3, 1, 4032, 0, 288, 504),
        "cross_out": (3, 2, 2880, 720, 204, 0),  # 10·24
    }
    # Three sums a block over 2·10: 9 of 20 elements, two read and one written.
    assert found["residuals"] == (9, 2, 360, 0, 540, 0)
    assert op_of(ops, "cross_attention").part == "cross_attention"
    assert op_of(ops, "attention").part == "attention"


def test_every_op_of_an_encoder() -> None:
    """2 sequences of 5: no cache, so that keys and values are activations."""
    ops = encoder_ops(encoder_decoder(), 2, 5)
    found = figures(ops)
    assert found["embedding"] == (1, 10, 100, 0, 300, 0)
    # 2 blocks of 2 norms, one before and one after: 6 over 10·10.
    assert found["norms"] == (6, 10, 600, 0, 1200, 0)
    # 5·5 pairs: 4·2·2·25·24; queries and output 2·2·10·24 = 960; keys and values 2·2·2·12 = 96 a
    # position, 5 read and 5 written.
    assert found["attention"] == (2, 5, 9600, 0, 960 + 96 * 10, 0)
    assert "head" not in found
    bare = network(block_of(attention_of(causal=False)), embeddings=[], embedding_norm=None)
    assert encoder_ops(bare, 2, 5)[0].name == "norms"
    assert figures(encoder_ops(bare, 2, 5))["norms"] == (8, 10, 800, 0, 1600, 0)


def test_the_source_is_projected_once_for_all_that_read_it() -> None:
    (op,) = source_projection_ops(encoder_decoder(), 2, 7)
    # 14 rows of 10 become 6 keys and 6 values: 2·3·14·120, 3·120, 3·14·22.
    assert figures([op]) == {"cross_kv": (3, 14, 10_080, 360, 924, 0)}
    assert op.part == "cross_attention"
    assert source_projection_ops(network(block_of(attention_of())), 2, 7) == []


def test_stacks_of_two_kinds_are_named_apart() -> None:
    """Two blocks with a window and three without, and a copy of the cache of both."""
    sliding = block_of(attention_of(window=4), name="sliding", count=2)
    full = block_of(attention_of(), name="full")
    ops = pass_ops(
        network(sliding, full),
        batch_size=2,
        new_tokens=1,
        context_len=9,
        logits_rows=1,
        extra_traffic=ExtraTraffic(gelu_passes=8, kv_copies=0.5),
    )
    found = figures(ops)
    # The norm of the embeddings comes before the first stack, the two in the end after the last:
    # 2·2 + 1 and 3·2 + 2, over 2·10.
    assert found["sliding.norms"] == (5, 2, 100, 0, 200, 0)
    assert found["full.norms"] == (8, 2, 160, 0, 320, 0)
    # 2·2·2·12 = 96 a position of the first, 4 read and 1 written; 144 of the second, 9 and 1.
    assert found["sliding.attention"][-1] == 480
    assert found["full.attention"][-1] == 1440
    # Keys and values of 5 blocks. The cache holds 96·4 + 144·9 = 1680; half, read and written.
    assert found["kv_copy"] == (10, 0, 0, 0, 0, 1680)
    # The activation walks 8 times over 3·2·14: two read, one written.
    assert found["full.activation"] == (3, 2, 1344, 0, 2016, 0)
    assert op_of(ops, "kv_copy").kind == "copy" and op_of(ops, "kv_copy").part == "attention"


def test_a_classifier_looks_at_one_position() -> None:
    heads = [
        Head(name="head", inputs=10, outputs=100, bias=False, per="token", norm="layer_norm"),
        Head(name="classifier", inputs=10, outputs=3, bias=True, per="sequence"),
    ]
    found = figures(head_ops(network(heads=heads), 2, 5))
    assert found == {
        "head": (1, 10, 20_000, 1000, 1100, 0),  # 10 rows: 2·10·1000, 10·110
        "head.norm": (1, 10, 1000, 0, 2000, 0),  # 10 rows of 100
        "classifier": (1, 2, 120, 30, 26, 0),  # 2 rows: 2·2·30, 2·13
    }


def test_a_full_pass_of_an_encoder_and_decoder() -> None:
    """2 sequences of 5 tokens on both sides, all of them scored."""
    ops = full_pass_ops(encoder_decoder(), 2, 5)
    names = [op.name for op in ops]
    assert names.count("embedding") == 2
    assert names.index("cross_kv") < names.index("cross_q") < names.index("head")
    assert op_of(ops, "head").rows == 10
    assert op_of(ops, "cross_attention").flops == 4 * 3 * 2 * 25 * 24  # 5·5 pairs
    # qkv, out, up and down 480 + 240 + 280 + 140 = 1140 weights: 2·10·1140 in each of 2 and 3
    # blocks; the latter also cross 240 + 240; 120 of cross keys and values; 1000 of the head.
    linear = 2 * 10 * (2 * 1140 + 3 * (1140 + 480 + 120) + 1000)
    # Full attention: 4·2·25 for each of 24 outputs, once in 2 blocks and twice in 3.
    attention = 4 * 2 * 25 * (2 * 24 + 3 * 48)
    assert full_pass_flops(encoder_decoder(), 2, 5) == {
        "product": linear + attention,
        "convolution": 0,
    }


def test_a_full_pass_of_a_decoder() -> None:
    model = network(block_of(attention_of()))
    ops = full_pass_ops(model, 2, 5)
    assert ops == pass_ops(model, batch_size=2, new_tokens=5, context_len=5, logits_rows=5)
    attention = 4 * 2 * 25 * 3 * 24
    assert full_pass_flops(model, 2, 5)["product"] == 2 * 10 * (3 * 1140 + 1000) + attention
    # What is published as a model's FLOPs, causal attention of 15 of 25 pairs, and the rest:
    # an embedding, 9 norms and 12 sums of two over 10·10, 3·10·28 of activations.
    assert product_flops(ops) == 2 * 10 * (3 * 1140 + 1000) + attention * 15 // 25
    assert other_flops(ops) == 100 + 900 + 1200 + 840


def test_a_full_pass_of_an_image_has_a_length_of_its_own() -> None:
    """Patches by a convolution of 4·4 over 3 channels, 2·3 of them, twice; 6 tokens an image."""
    patches = Convolution(
        name="patches",
        count=2,
        in_channels=3,
        out_channels=10,
        kernel=4,
        stride=4,
        out_height=2,
        out_width=3,
        bias=True,
        batch_norm=True,
    )
    classifier = Head(name="classifier", inputs=10, outputs=7, bias=True, per="sequence")
    image = network(
        block_of(attention_of(causal=False)),
        kind="image",
        context_len=6,
        embeddings=[],
        convolutions=[patches],
        heads=[classifier],
    )
    found = figures(full_pass_ops(image, 2, 6))
    # 2 images · 6 positions · 2 runs = 24 positions of 10 outputs: 2·240·48; 2·480 weights; each
    # position reads 4·4·3 inputs.
    assert found["patches"] == (2, 12, 23_040, 960, 24 * 48 + 240, 0)
    assert found["patches.norm"] == (2, 0, 240, 0, 480, 0)
    assert found["classifier"] == (1, 2, 280, 70, 34, 0)
    convolution, norm = full_pass_ops(image, 2, 6)[:2]
    assert (convolution.shape, norm.shape) == ("3→10, 4×4/4, 2×3", "10×2×3")
    assert (convolution.kind, convolution.part, convolution.matrix_elements) == (
        "convolution",
        "convolution",
        480,
    )
    assert (norm.kind, norm.part) == ("elementwise", "norms")
    # 12 tokens in 3 blocks, and 2 rows of the classifier; 36 pairs of each image.
    assert full_pass_flops(image, 2, 99) == {
        "product": 2 * 12 * 3 * 1140 + 280 + 4 * 2 * 36 * 3 * 24,
        "convolution": 23_040,
    }
    # Without a length an image is one token.
    one = msgspec.structs.replace(image, context_len=None)
    assert full_pass_flops(one, 2, 99)["product"] == 2 * 2 * 3 * 1140 + 280 + 4 * 2 * 3 * 24
    plain = msgspec.structs.replace(
        image, convolutions=[msgspec.structs.replace(patches, batch_norm=False)]
    )
    assert "patches.norm" not in figures(full_pass_ops(plain, 2, 6))


def test_shapes_in_words() -> None:
    ops = pass_ops(
        network(block_of(attention_of())), batch_size=2, new_tokens=5, context_len=8, logits_rows=1
    )
    assert {op.name: op.shape for op in ops} == {
        "embedding": "10 rows of 10",
        "norms": "10 rows",
        "qkv": "10×10 · 10×48",
        "attention": "2×4 heads, 5 × 8 of 6",
        "attention_out": "10×24 · 24×10",
        "mlp_up": "10×10 · 10×28",
        "activation": "10 rows",
        "mlp_down": "10×14 · 14×10",
        "residuals": "10 rows",
        "head": "2×10 · 10×100",
    }
    assert {op.name: op.part for op in ops if op.part != "mlp"} == {
        "embedding": "embedding",
        "norms": "norms",
        "qkv": "attention",
        "attention": "attention",
        "attention_out": "attention",
        "residuals": "residuals",
        "head": "head",
    }
    assert {op.name: op.matrix_elements for op in ops if op.matrix_elements} == {
        "qkv": 480,
        "attention_out": 240,
        "mlp_up": 280,
        "mlp_down": 140,
        "head": 1000,
    }
