"""`EncoderConfig`: a BERT, RoBERTa or DistilBERT as it runs, read from a `config.json`."""

from typing import Any

import msgspec

from topout.errors import UnsupportedError
from topout.models.architecture import Architecture
from topout.models.architectures.encoders import read_bert
from topout.models.fields import (
    Activation,
    Fields,
    label_count,
    read_activation,
    read_rate,
    stated_classes,
)

ENCODER_ARCHITECTURES = ["bert", "roberta", "xlm-roberta", "distilbert"]

_DISTILBERT_NORM_EPS = 1e-12  # no field of its config.json


class EncoderDropout(msgspec.Struct, frozen=True, kw_only=True):
    """The share of elements that each dropout zeroes in training."""

    embedding: float
    attention: float  # of the attention weights
    attention_output: float
    mlp_output: float
    classifier: float


class EncoderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of an encoder, `architecture`, and what running it needs besides.

    `architecture` is that of the bare model, whichever class `config.json` names.
    """

    architecture: Architecture
    activation: Activation
    norm_eps: float
    pad_id: int | None  # None: no token is padding
    positions_follow_padding: bool  # RoBERTa: the first token has the position pad_id + 1
    dropout: EncoderDropout
    tied_head: bool  # of the masked-language head
    labels: int  # of a classifier, as config.json states them; 2 where it does not
    stores_classifier: bool  # config.json names a sequence classifier, or no class

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any], name: str) -> "EncoderConfig":
        """The config that a parsed `config.json` describes.

        Raises InputError that names a missing, wrongly typed or contradictory field,
        UnsupportedError that names what is not supported.
        """
        fields = Fields(config, name)
        family = fields.text("model_type")
        _check_supported(fields, family)
        bare = {key: value for key, value in config.items() if key != "architectures"}
        architecture = read_bert(Fields(bare, name))
        is_distilbert = family == "distilbert"
        return cls(
            architecture=architecture,
            activation=read_activation(
                fields, "activation" if is_distilbert else "hidden_act", "gelu"
            ),
            norm_eps=_DISTILBERT_NORM_EPS
            if is_distilbert
            else fields.number("layer_norm_eps", 1e-12),
            pad_id=_pad_id(fields, family),
            positions_follow_padding=family in ("roberta", "xlm-roberta"),
            dropout=_distilbert_dropout(fields) if is_distilbert else _bert_dropout(fields),
            tied_head=fields.flag("tie_word_embeddings", True),
            labels=label_count(fields),
            stores_classifier=_stores_classifier(fields),
        )

    @property
    def name(self) -> str:
        """The name that the model was given by."""
        return self.architecture.name

    @property
    def family(self) -> str:
        """Hugging Face's model_type, one of ENCODER_ARCHITECTURES."""
        return self.architecture.model_type

    @property
    def layers(self) -> int:
        """Blocks."""
        return self.architecture.blocks[0].count

    @property
    def width(self) -> int:
        """Elements of a token's hidden state."""
        return self.architecture.width

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return self.architecture.blocks[0].attention.heads

    @property
    def head_size(self) -> int:
        """Elements of a head."""
        return self.architecture.blocks[0].attention.head_size

    @property
    def mlp_width(self) -> int:
        """Elements between the two layers of the MLP."""
        return self.architecture.blocks[0].mlp.width

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return self.table_rows("tokens")

    @property
    def context_len(self) -> int:
        """Tokens of the longest sequence."""
        assert self.architecture.context_len is not None
        return self.architecture.context_len

    @property
    def pools(self) -> bool:
        """Whether the bare model ends in a pooler: all but DistilBERT."""
        return bool(self.architecture.heads)

    def table_rows(self, table: str) -> int:
        """Rows of the embedding table "tokens", "positions" or "token_types"; 0: there is none."""
        return sum(each.rows for each in self.architecture.embeddings if each.name == table)


def without_dropout(config: EncoderConfig) -> EncoderConfig:
    """The same encoder with all dropout rates 0."""
    none = EncoderDropout(
        embedding=0.0, attention=0.0, attention_output=0.0, mlp_output=0.0, classifier=0.0
    )
    return msgspec.structs.replace(config, dropout=none)


def _check_supported(fields: Fields, family: str) -> None:
    if family not in ENCODER_ARCHITECTURES:
        raise UnsupportedError(
            f"{fields.source}: architecture {family!r} is not supported as an encoder.",
            f"Supported encoders are {', '.join(ENCODER_ARCHITECTURES)}.",
        )
    if fields.has("quantization_config"):
        raise UnsupportedError(
            f"{fields.source}: its weights are stored quantized (`quantization_config`).",
            "Give the unquantized checkpoint.",
        )
    positions = fields.text("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UnsupportedError(
            f"{fields.source}: `position_embedding_type` {positions!r} is not supported.",
            "Choose an encoder with absolute positions.",
        )


def _pad_id(fields: Fields, family: str) -> int | None:
    if family in ("roberta", "xlm-roberta"):
        pad_id = fields.integer("pad_token_id", 1, least=0)
    elif "pad_token_id" in fields.raw and not fields.has("pad_token_id"):
        return None
    else:
        pad_id = fields.integer("pad_token_id", 0, least=0)
    vocab_size = fields.integer("vocab_size")
    if pad_id >= vocab_size:
        raise fields.wrong("pad_token_id", pad_id, f"below the vocabulary's size {vocab_size}")
    return pad_id


def _bert_dropout(fields: Fields) -> EncoderDropout:
    hidden = read_rate(fields, "hidden_dropout_prob", 0.1)
    return EncoderDropout(
        embedding=hidden,
        attention=read_rate(fields, "attention_probs_dropout_prob", 0.1),
        attention_output=hidden,
        mlp_output=hidden,
        classifier=read_rate(fields, "classifier_dropout", hidden),
    )


def _distilbert_dropout(fields: Fields) -> EncoderDropout:
    hidden = read_rate(fields, "dropout", 0.1)
    return EncoderDropout(
        embedding=hidden,
        attention=read_rate(fields, "attention_dropout", 0.1),
        attention_output=0.0,  # DistilBERT has none there
        mlp_output=hidden,
        classifier=read_rate(fields, "seq_classif_dropout", 0.2),
    )


def _stores_classifier(fields: Fields) -> bool:
    # A classifier of tokens or of choices has tensors of the same names.
    classes = stated_classes(fields)
    return not classes or any(name.endswith("ForSequenceClassification") for name in classes)
