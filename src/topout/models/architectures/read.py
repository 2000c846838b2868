"""`read_architecture`: from a parsed `config.json` to the family that reads it."""

from collections.abc import Callable
from typing import Any

from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture
from topout.models.architectures.bert import read_bert
from topout.models.architectures.decoder import read_decoder
from topout.models.architectures.gemma import read_gemma, read_gemma3
from topout.models.architectures.mixture import read_mixtral, read_qwen_moe
from topout.models.architectures.resnet import read_resnet
from topout.models.architectures.t5 import read_t5
from topout.models.architectures.vit import read_vit
from topout.models.fields import Fields

_TEXT_READERS: dict[str, Callable[[Fields], Architecture]] = {
    "gpt2": read_decoder,
    "llama": read_decoder,
    "mistral": read_decoder,
    "qwen2": read_decoder,
    "qwen3": read_decoder,
    "gemma": read_gemma,
    "gemma2": read_gemma,
    "gemma3_text": read_gemma,
    "gemma3": read_gemma3,
    "mixtral": read_mixtral,
    "qwen2_moe": read_qwen_moe,
    "qwen3_moe": read_qwen_moe,
    "bert": read_bert,
    "roberta": read_bert,
    "xlm-roberta": read_bert,
    "distilbert": read_bert,
    "t5": read_t5,
}
_IMAGE_READERS: dict[str, Callable[[Fields, int | None], Architecture]] = {
    "vit": read_vit,
    "resnet": read_resnet,
}
MODEL_TYPES = [*_TEXT_READERS, *_IMAGE_READERS]


def read_architecture(
    config_json: dict[str, Any], name: str, *, image_size: int | None = None
) -> Architecture:
    """The architecture that a parsed `config.json` describes.

    What sets a model's size (width, layers, heads, MLP width, vocabulary) has to be stated; any
    other field that is absent is what transformers' config class takes for it. `image_size`, in
    pixels, is for image models alone. Raises InputError that names a missing, wrongly typed or
    contradictory field, UnsupportedError for another `model_type`.
    """
    fields = Fields(config_json, name)
    model_type = fields.text("model_type")
    if model_type in _IMAGE_READERS:
        return _IMAGE_READERS[model_type](fields, image_size)
    if model_type not in _TEXT_READERS:
        raise UnsupportedError(
            f"{name}: architecture {model_type!r} is not read from config.json.",
            f"Read are {', '.join(MODEL_TYPES)}; `topout.cost.graph` counts any PyTorch module.",
        )
    if image_size is not None:
        raise InputError(
            f"{name}: {model_type} takes no images.", "Leave the image size out for this model."
        )
    return _TEXT_READERS[model_type](fields)
