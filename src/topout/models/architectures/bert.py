"""BERT and its kin: RoBERTa, XLM-RoBERTa and DistilBERT."""

from dataclasses import dataclass

from topout.errors import UnsupportedError
from topout.models.architecture import Architecture, Attention, Block, Embedding, Mlp
from topout.models.architectures.encoder_heads import TASKS, heads_of
from topout.models.architectures.stated_class import label_count, notes, stated_classes
from topout.models.config import check_heads, read_activation, read_weights_dtype
from topout.models.fields import Fields


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


_ROBERTA_LACKS = ("ForPreTraining", "ForNextSentencePrediction")
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
        blocks=[_block(fields, family, width)],
        heads=heads_of(
            task,
            width=width,
            vocab_size=vocab_size,
            labels=label_count(fields),
            tied=tied,
            pools=family.pools,
        ),
        weights_dtype=read_weights_dtype(fields),
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


def _block(fields: Fields, family: _Family, width: int) -> Block:
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
