"""Published models written out by hand: counts do not hang on the readers of config.json."""

from topout.models.architecture import Architecture, Attention, Block, Embedding, Head, Mlp


def decoder_attention(heads: int, kv_heads: int, head_size: int, *, bias: bool) -> Attention:
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        qkv_bias=bias,
        out_bias=bias,
        causal=True,
        rotary=not bias,
    )


def llama(
    name: str,
    layers: int,
    width: int,
    kv_heads: int,
    mlp_width: int,
    vocab_size: int,
    context_len: int,
    *,
    heads: int = 32,
    experts: int = 0,
) -> Architecture:
    """Llama's shape: heads of 128, a gated MLP without biases; with `experts` that of Mixtral."""
    mlp = Mlp(
        width=mlp_width,
        gated=True,
        bias=False,
        activation="silu",
        experts=experts,
        experts_per_token=2 if experts else 0,
    )
    block = Block(
        name="block",
        count=layers,
        width=width,
        attention=decoder_attention(heads, kv_heads, 128, bias=False),
        mlp=mlp,
        norm="rms_norm",
        norm_bias=False,
    )
    return Architecture(
        name=name,
        model_type="mixtral" if experts else "llama",
        kind="decoder",
        counted_as="LlamaForCausalLM",
        width=width,
        vocab_size=vocab_size,
        context_len=context_len,
        embeddings=[Embedding(name="tokens", rows=vocab_size, width=width)],
        blocks=[block],
        final_norms=1,
        heads=[Head(name="head", inputs=width, outputs=vocab_size, bias=False, per="token")],
    )


LLAMA_2_7B = llama("llama-2-7b", 32, 4096, 32, 11008, 32000, 4096)
LLAMA_2_70B = llama("llama-2-70b", 80, 8192, 8, 28672, 32000, 4096, heads=64)
MIXTRAL = llama("mixtral-8x7b", 32, 4096, 8, 14336, 32000, 32768, experts=8)


def _gpt2(name: str, layers: int, width: int, heads: int) -> Architecture:
    block = Block(
        name="block",
        count=layers,
        width=width,
        attention=decoder_attention(heads, heads, width // heads, bias=True),
        mlp=Mlp(width=4 * width, gated=False, bias=True, activation="gelu_tanh"),
        norm="layer_norm",
        norm_bias=True,
    )
    return Architecture(
        name=name,
        model_type="gpt2",
        kind="decoder",
        counted_as="GPT2LMHeadModel",
        width=width,
        vocab_size=50257,
        context_len=1024,
        embeddings=[
            Embedding(name="tokens", rows=50257, width=width),
            Embedding(name="positions", rows=1024, width=width),
        ],
        blocks=[block],
        final_norms=1,
        heads=[Head(name="head", inputs=width, outputs=50257, bias=False, tied=True, per="token")],
    )


GPT2 = _gpt2("gpt2", 12, 768, 12)

_BERT_BLOCK = Block(
    name="block",
    count=12,
    width=768,
    attention=Attention(
        heads=12, kv_heads=12, head_size=64, qkv_bias=True, out_bias=True, causal=False
    ),
    mlp=Mlp(width=3072, gated=False, bias=True, activation="gelu"),
    norm="layer_norm",
    norm_bias=True,
)
BERT_BASE = Architecture(
    name="bert-base",
    model_type="bert",
    kind="encoder",
    counted_as="BertModel",
    width=768,
    vocab_size=30522,
    context_len=512,
    embeddings=[
        Embedding(name="tokens", rows=30522, width=768),
        Embedding(name="positions", rows=512, width=768),
        Embedding(name="token_types", rows=2, width=768),
    ],
    embedding_norm="layer_norm",
    blocks=[_BERT_BLOCK],
    heads=[Head(name="pooler", inputs=768, outputs=768, bias=True, per="sequence")],
)


def _t5_attention(*, causal: bool, cross: bool = False) -> Attention:
    return Attention(
        heads=8,
        kv_heads=8,
        head_size=64,
        qkv_bias=False,
        out_bias=False,
        causal=causal,
        cross=cross,
        relative_buckets=0 if cross else 32,
    )


def _t5_block(name: str, *, causal: bool) -> Block:
    return Block(
        name=name,
        count=6,
        width=512,
        attention=_t5_attention(causal=causal),
        cross_attention=_t5_attention(causal=False, cross=True) if causal else None,
        mlp=Mlp(width=2048, gated=False, bias=False, activation="relu"),
        norm="rms_norm",
        norm_bias=False,
        norms=3 if causal else 2,
    )


T5_SMALL = Architecture(
    name="t5-small",
    model_type="t5",
    kind="encoder_decoder",
    counted_as="T5ForConditionalGeneration",
    width=512,
    vocab_size=32128,
    embeddings=[Embedding(name="tokens", rows=32128, width=512)],
    blocks=[_t5_block("encoder", causal=False), _t5_block("decoder", causal=True)],
    final_norms=2,
    heads=[Head(name="head", inputs=512, outputs=32128, bias=False, tied=True, per="token")],
)
