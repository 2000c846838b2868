"""T5, its version 1.1 and Flan-T5: an encoder and a decoder with biases by distance."""

from topout.errors import UnsupportedError
from topout.models.architecture import Architecture, Attention, Block, Embedding, Mlp
from topout.models.architectures.decoder import language_head
from topout.models.architectures.stated_class import notes, stated_classes
from topout.models.config import read_activation, read_weights_dtype
from topout.models.fields import Fields

_OLD_NAME = "T5WithLMHeadModel"  # of T5ForConditionalGeneration, in the oldest checkpoints


def read_t5(fields: Fields) -> Architecture:
    """T5 with its language head, or the encoder alone where `architectures` says so.

    The head shares the token table unless `tie_word_embeddings` is false, as it is in the
    checkpoints of version 1.1: these hold a head of their own, and loading them keeps it apart.
    """
    encoder_only = stated_classes(fields) == ["T5EncoderModel"]
    counted_as = "T5EncoderModel" if encoder_only else "T5ForConditionalGeneration"
    width, vocab_size = fields.integer("d_model"), fields.integer("vocab_size")
    encoder = _stack(fields, "encoder")
    tied = fields.flag("tie_word_embeddings", True)
    is_renamed = not encoder_only and stated_classes(fields) == [_OLD_NAME]
    return Architecture(
        name=fields.source,
        model_type="t5",
        kind="encoder" if encoder_only else "encoder_decoder",
        counted_as=counted_as,
        width=width,
        vocab_size=vocab_size,
        embeddings=[Embedding(name="tokens", rows=vocab_size, width=width)],
        blocks=[encoder] if encoder_only else [encoder, _stack(fields, "decoder")],
        final_norms=1 if encoder_only else 2,
        heads=[] if encoder_only else [language_head(width, vocab_size, tied)],
        weights_dtype=read_weights_dtype(fields),
        not_counted=[] if is_renamed else notes(fields, counted_as),
    )


def _stack(fields: Fields, name: str) -> Block:
    is_decoder = name == "decoder"
    layers = fields.integer("num_layers")
    return Block(
        name=name,
        count=fields.integer("num_decoder_layers", layers) if is_decoder else layers,
        width=fields.integer("d_model"),
        attention=_attention(fields, causal=is_decoder, cross=False),
        cross_attention=_attention(fields, causal=False, cross=True) if is_decoder else None,
        mlp=_mlp(fields),
        norm="rms_norm",
        norm_bias=False,
        norms=3 if is_decoder else 2,
    )


def _attention(fields: Fields, *, causal: bool, cross: bool) -> Attention:
    heads = fields.integer("num_heads")
    buckets = fields.integer("relative_attention_num_buckets", 32)
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_size=fields.integer("d_kv", 64),
        qkv_bias=False,
        out_bias=False,
        causal=causal,
        cross=cross,
        relative_buckets=0 if cross else buckets,
    )


def _mlp(fields: Fields) -> Mlp:
    """The feed-forward part; `feed_forward_proj` is an activation, or `gated-` and one."""
    stated = fields.text("feed_forward_proj", "relu")
    gate, _, activation = stated.rpartition("-")
    if gate not in ("", "gated"):
        raise UnsupportedError(
            f"{fields.source}: `feed_forward_proj` {stated!r} is not supported.",
            "Supported are an activation and `gated-` with an activation behind it.",
        )
    # transformers reads "gated-gelu" as the tanh form that version 1.1 was trained with.
    key = "gelu_new" if stated == "gated-gelu" else activation
    named = Fields({"feed_forward_proj": key}, fields.source)
    return Mlp(
        width=fields.integer("d_ff"),
        gated=gate == "gated",
        bias=False,
        activation=read_activation(named, "feed_forward_proj", "relu"),
    )
