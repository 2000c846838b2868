"""The rates of dropout that a decoder is trained with."""

from typing import Any, NamedTuple

from topout.models.fields import Fields, read_rate


class DecoderDropout(NamedTuple):
    """The share of elements that each dropout zeroes in training."""

    embedding: float
    attention: float  # of the attention weights
    residual: float  # of what attention and MLP add to the stream

    @classmethod
    def from_hugging_face(cls, config_json: dict[str, Any], name: str) -> "DecoderDropout":
        """The rates of a `config.json`; raises InputError for one that is none."""
        fields = Fields(config_json, name)
        if fields.text("model_type") != "gpt2":
            return cls(0.0, read_rate(fields, "attention_dropout", 0.0), 0.0)
        return cls(
            embedding=read_rate(fields, "embd_pdrop", 0.1),
            attention=read_rate(fields, "attn_pdrop", 0.1),
            residual=read_rate(fields, "resid_pdrop", 0.1),
        )
