"""How transformers' own modules differ in what autograd keeps of them, by `model_type`.

Read in transformers 5.23's modeling files and held by tests that run them.
"""

from typing import Literal

import msgspec


class EagerTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Habits of one family's modules that change what is kept for backward."""

    softmax_in_fp32: bool = True  # scores are widened to fp32, and the result narrowed
    rms_norm: Literal["llama", "gemma", "t5"] = "llama"
    written_out_gelu: bool = False  # tanh-GELU as eight ops; four of their inputs are kept
    residual_dropout: bool = False  # on embeddings and on what a block adds to its input
    dropout_after_attention: bool = True  # of residual dropouts, the one on attention's output
    dropout_in_mlp: bool = False  # between activation and second matrix
    loss_in_fp32: bool = True  # logits are widened to fp32 before the loss


_ENCODER = EagerTraits(softmax_in_fp32=False, residual_dropout=True, loss_in_fp32=False)

_TRAITS = {
    "gpt2": EagerTraits(softmax_in_fp32=False, written_out_gelu=True, residual_dropout=True),
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "distilbert": msgspec.structs.replace(_ENCODER, dropout_after_attention=False),
    "vit": EagerTraits(residual_dropout=True, loss_in_fp32=False),
    "resnet": EagerTraits(loss_in_fp32=False),
    "t5": EagerTraits(
        softmax_in_fp32=False,
        rms_norm="t5",
        written_out_gelu=True,
        residual_dropout=True,
        dropout_in_mlp=True,
        loss_in_fp32=False,
    ),
}


def eager_traits(model_type: str) -> EagerTraits:
    """The habits of a family; those of the Llama family for one that is not listed."""
    if model_type.startswith("gemma"):
        return EagerTraits(rms_norm="gemma")
    return _TRAITS.get(model_type, EagerTraits())
