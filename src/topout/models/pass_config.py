"""`PassConfig`: a model that runs in one pass, an encoder or a classifier of images.

A batch goes in, logits or hidden states come out; nothing is generated.
"""

from typing import Literal

import msgspec

from topout.models.architecture import Architecture, total_parameters
from topout.models.config import ModelConfig, architecture_of

Takes = Literal["tokens", "images"]


class PassConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What running a pass needs to know; 0 for what a model does not have."""

    name: str
    architecture: str  # Hugging Face model_type
    class_name: str  # of transformers
    takes: Takes
    parameters: int
    layers: int
    width: int  # of the last stage, where stages differ
    heads: int
    vocab_size: int
    context_len: int  # tokens of the longest sequence
    channels: int
    image_size: int  # pixels on a side
    outputs: int  # logits of a position; 0: hidden states come out
    digest: str  # of all fields of the config.json
    shape: Architecture | None = None  # where topout counts this class by formulas
    counted_flops: float | None = None  # of the products of one input, where it does not

    @property
    def kv_heads(self) -> int:
        """All heads have keys and values of their own."""
        return self.heads


def parameters_of(config: ModelConfig | PassConfig) -> int:
    """Of the whole model, tied weights counted once."""
    if isinstance(config, PassConfig):
        return config.parameters
    return total_parameters(architecture_of(config))
