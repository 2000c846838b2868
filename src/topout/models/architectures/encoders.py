"""BERT and its kin (RoBERTa, XLM-RoBERTa, DistilBERT) with their heads, and the T5 family."""

from dataclasses import dataclass

from topout.errors import UnsupportedError
from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Embedding,
    Head,
    Mlp,
    language_head,
)
from topout.models.fields import (
    Fields,
    check_heads,
    label_count,
    notes,
    read_activation,
    stated_classes,
)

TASKS = [
    "Model",
    "ForMaskedLM",
    "ForPreTraining",
    "ForNextSentencePrediction",
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
]

_ROBERTA_LACKS = ("ForPreTraining", "ForNextSentencePrediction")
_OLD_NAME = "T5WithLMHeadModel"  # of T5ForConditionalGeneration, in the oldest checkpoints


def heads_of(
    task: str, *, width: int, vocab_size: int, labels: int, tied: bool, pools: bool
) -> list[Head]:
    """The heads of one of TASKS; `pools`: the bare model ends in a pooler."""
    pooler = Head(name="pooler", inputs=width, outputs=width, bias=True, per="sequence")
    masked = [
        Head(
            name="transform",
            inputs=width,
            outputs=width,
            bias=True,
            per="token",
            norm="layer_norm",
        ),
        Head(name="head", inputs=width, outputs=vocab_size, bias=True, tied=tied, per="token"),
    ]

    def classify(outputs: int) -> list[Head]:
        # RoBERTa and DistilBERT have a layer of the pooler's size of their own before it.
        classifier = Head(
            name="classifier", inputs=width, outputs=outputs, bias=True, per="sequence"
        )
        return [pooler, classifier] if outputs else [pooler]

    per_token = Head(name="classifier", inputs=width, outputs=labels, bias=True, per="token")
    return {
        "Model": [pooler] if pools else [],
        "ForMaskedLM": masked,
        "ForPreTraining": [*masked, *classify(2)],
        "ForNextSentencePrediction": classify(2),
        "ForSequenceClassification": classify(labels),
        "ForMultipleChoice": classify(1),
        "ForTokenClassification": [per_token],
        "ForQuestionAnswering": [per_token],
    }[task]


@dataclass(frozen=True)
class _Family:
    """How one family spells its fields, and what it has."""

    prefix: str  # of the class names
    width: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    mlp_width: str = "intermediate_size"
    activation: str = "hidden_act"
    token_types: bool = True
    pools: bool = True
    padded_positions: bool = False  # positions are counted from the row after the padding's
    absent_tasks: tuple[str, ...] = ()


_FAMILIES = {
    "bert": _Family("Bert"),
    "roberta": _Family("Roberta", padded_positions=True, absent_tasks=_ROBERTA_LACKS),
    "xlm-roberta": _Family("XLMRoberta", padded_positions=True, absent_tasks=_ROBERTA_LACKS),
    "distilbert": _Family(
        "DistilBert",
        width="dim",
        layers="n_layers",
        heads="n_heads",
        mlp_width="hidden_dim",
        activation="activation",
        token_types=False,
        pools=False,
        absent_tasks=_ROBERTA_LACKS,
    ),
}


def read_bert(fields: Fields) -> Architecture:
    """An encoder of the BERT kind with the head of the class that `architectures` names.

    Without a class, or with one of another kind, the bare model, which ends in a pooler except in
    DistilBERT. Raises UnsupportedError for one made into a decoder.
    """
    model_type = fields.text("model_type")
    family = _FAMILIES[model_type]
    for key in ("is_decoder", "add_cross_attention"):
        if fields.flag(key, False):
            raise UnsupportedError(
                f"{fields.source}: `{key}` is not supported.",
                "Choose an encoder, or count the module with `topout.cost.graph`.",
            )
    width, vocab_size = fields.integer(family.width), fields.integer("vocab_size")
    positions = fields.integer("max_position_embeddings", 512)
    task = _task(fields, family)
    tied = fields.flag("tie_word_embeddings", True)
    return Architecture(
        name=fields.source,
        model_type=model_type,
        kind="encoder",
        counted_as=family.prefix + task,
        width=width,
        vocab_size=vocab_size,
        context_len=_context_len(fields, family, positions),
        embeddings=_embeddings(fields, family, width, positions),
        embedding_norm="layer_norm",
        blocks=[_bert_block(fields, family, width)],
        heads=heads_of(
            task,
            width=width,
            vocab_size=vocab_size,
            labels=label_count(fields),
            tied=tied,
            pools=family.pools,
        ),
        not_counted=_left_out(family, task, tied) + notes(fields, family.prefix + task),
    )


def _task(fields: Fields, family: _Family) -> str:
    for name in stated_classes(fields):
        task = name.removeprefix(family.prefix)
        if task in TASKS and task not in family.absent_tasks:
            return task
    return "Model"


def _left_out(family: _Family, task: str, tied: bool) -> list[str]:
    # With a tied head the two are one tensor.
    if tied or not family.pools or task not in ("ForMaskedLM", "ForPreTraining"):
        return []
    return ["A second copy of the head's biases, which transformers keeps beside the first."]


def _context_len(fields: Fields, family: _Family, positions: int) -> int:
    if not family.padded_positions:
        return positions
    unused = fields.integer("pad_token_id", 1, least=0) + 1
    if unused >= positions:
        raise fields.wrong("max_position_embeddings", positions, f"above {unused}")
    return positions - unused


def _embeddings(fields: Fields, family: _Family, width: int, positions: int) -> list[Embedding]:
    tables = [
        Embedding(name="tokens", rows=fields.integer("vocab_size"), width=width),
        Embedding(name="positions", rows=positions, width=width),
    ]
    if family.token_types:
        rows = fields.integer("type_vocab_size", 2)
        tables.append(Embedding(name="token_types", rows=rows, width=width))
    return tables


def _bert_block(fields: Fields, family: _Family, width: int) -> Block:
    heads = fields.integer(family.heads)
    check_heads(fields, width, heads)
    return Block(
        name="block",
        count=fields.integer(family.layers),
        width=width,
        attention=Attention(
            heads=heads,
            kv_heads=heads,
            head_size=width // heads,
            qkv_bias=True,
            out_bias=True,
            causal=False,
        ),
        mlp=Mlp(
            width=fields.integer(family.mlp_width),
            gated=False,
            bias=True,
            activation=read_activation(fields, family.activation, "gelu"),
        ),
        norm="layer_norm",
        norm_bias=True,
    )


def read_t5(fields: Fields) -> Architecture:
    """T5 with its language head, or the encoder alone where `architectures` says so.

    The head shares the token table unless `tie_word_embeddings` is false, as it is in the
    checkpoints of version 1.1: these hold a head of their own, and loading them keeps it apart.
    """
    encoder_only = stated_classes(fields) == ["T5EncoderModel"]
    counted_as = "T5EncoderModel" if encoder_only else "T5ForConditionalGeneration"
    width, vocab_size = fields.integer("d_model"), fields.integer("vocab_size")
    encoder = _t5_stack(fields, "encoder")
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
        blocks=[encoder] if encoder_only else [encoder, _t5_stack(fields, "decoder")],
        final_norms=1 if encoder_only else 2,
        heads=[] if encoder_only else [language_head(width, vocab_size, tied)],
        not_counted=[] if is_renamed else notes(fields, counted_as),
    )


def _t5_stack(fields: Fields, name: str) -> Block:
    is_decoder = name == "decoder"
    layers = fields.integer("num_layers")
    return Block(
        name=name,
        count=fields.integer("num_decoder_layers", layers) if is_decoder else layers,
        width=fields.integer("d_model"),
        attention=_t5_attention(fields, causal=is_decoder, cross=False),
        cross_attention=_t5_attention(fields, causal=False, cross=True) if is_decoder else None,
        mlp=_t5_mlp(fields),
        norm="rms_norm",
        norm_bias=False,
        norms=3 if is_decoder else 2,
    )


def _t5_attention(fields: Fields, *, causal: bool, cross: bool) -> Attention:
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


def _t5_mlp(fields: Fields) -> Mlp:
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
