"""Models whose weights were never published, by the shapes in their papers.

GPT-3 and PaLM are of the shape of GPT-2 and Llama in what is counted. Gopher and Chinchilla (arXiv
2112.11446, 2203.15556) have RMSNorm, a plain MLP and positions by distance as Transformer-XL has
them (arXiv 1901.02860): a projection of the distances for each head in every block.
"""

from topout.models.architecture import Architecture, Attention, Block, Embedding, Mlp, language_head
from topout.models.fields import Fields, check_heads
from topout.models.known_shapes import ConfigJson, KnownShapes

_IN_BF16: ConfigJson = {"torch_dtype": "bfloat16"}
_GOPHER = _IN_BF16 | {
    "model_type": "gopher",
    "vocab_size": 32000,
    "num_hidden_layers": 80,
    "max_position_embeddings": 2048,
}
CLOSED: KnownShapes = {
    "gpt-3": (
        "gpt-3",
        {
            "model_type": "gpt2",
            "n_embd": 12288,
            "n_layer": 96,
            "n_head": 96,
            "n_positions": 2048,
            "vocab_size": 50257,
            "torch_dtype": "float16",
        },
    ),
    "gopher": ("gopher", _GOPHER | {"hidden_size": 16384, "num_attention_heads": 128}),
    "chinchilla": ("chinchilla", _GOPHER | {"hidden_size": 8192, "num_attention_heads": 64}),
    "palm": (
        "palm",
        _IN_BF16
        | {
            "model_type": "llama",
            "hidden_size": 18432,
            "intermediate_size": 73728,
            "num_hidden_layers": 118,
            "num_attention_heads": 48,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 256000,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        },
    ),
}


def read_gopher(fields: Fields) -> Architecture:
    """Gopher or Chinchilla."""
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    check_heads(fields, width, heads)
    vocab = fields.integer("vocab_size")
    attention = Attention(
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        qkv_bias=True,
        out_bias=True,
        causal=True,
        projected_distances=True,
    )
    block = Block(
        name="block",
        count=fields.integer("num_hidden_layers"),
        width=width,
        attention=attention,
        mlp=Mlp(width=4 * width, gated=False, bias=True, activation="gelu"),
        norm="rms_norm",
        norm_bias=False,
    )
    return Architecture(
        name=fields.source,
        model_type="gopher",
        kind="decoder",
        counted_as="the model of the paper",
        width=width,
        vocab_size=vocab,
        context_len=fields.integer("max_position_embeddings"),
        embeddings=[Embedding(name="tokens", rows=vocab, width=width)],
        blocks=[block],
        final_norms=1,
        heads=[language_head(width, vocab, tied=True)],
    )
