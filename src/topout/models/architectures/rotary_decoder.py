"""What Gemma and the mixtures of experts share: rotary attention between a table and a head."""

from topout.errors import InputError
from topout.models.architecture import Architecture, Attention, Block, Embedding
from topout.models.architectures.decoder import language_head
from topout.models.architectures.stated_class import notes
from topout.models.config import check_heads, read_kv_heads, read_weights_dtype
from topout.models.fields import Fields


def read_rotary_attention(
    fields: Fields,
    *,
    kv_heads: int,
    head_size: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
) -> Attention:
    """Causal attention with rotary positions, all layers seeing everything.

    `kv_heads` and `head_size` are what transformers takes where a config states none; a
    `head_size` of None is the width by the heads. Raises InputError for heads that do not fit.
    """
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if head_size is None and not fields.has("head_dim"):
        check_heads(fields, width, heads)
    shared = read_kv_heads(fields, heads, kv_heads)
    if heads % shared:
        raise InputError(
            f"{fields.source}: {shared} key/value heads do not divide {heads} heads.",
            "Correct `num_key_value_heads` in config.json.",
        )
    return Attention(
        heads=heads,
        kv_heads=shared,
        head_size=fields.integer("head_dim", width // heads if head_size is None else head_size),
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        causal=True,
        qk_norm=qk_norm,
        rotary=True,
    )


def rotary_decoder(
    fields: Fields,
    *,
    name: str,
    counted_as: str,
    blocks: list[Block],
    context_len: int,
    tied: bool,
) -> Architecture:
    """A decoder of `blocks` between a token table and a head; `context_len` is the default."""
    width, vocab_size = fields.integer("hidden_size"), fields.integer("vocab_size")
    return Architecture(
        name=name,
        model_type=fields.text("model_type"),
        kind="decoder",
        counted_as=counted_as,
        width=width,
        vocab_size=vocab_size,
        context_len=fields.integer("max_position_embeddings", context_len),
        embeddings=[Embedding(name="tokens", rows=vocab_size, width=width)],
        blocks=blocks,
        final_norms=1,
        heads=[language_head(width, vocab_size, fields.flag("tie_word_embeddings", tied))],
        weights_dtype=read_weights_dtype(fields),
        not_counted=notes(fields, counted_as),
    )
