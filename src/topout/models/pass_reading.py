"""From a `config.json` to a `PassConfig`: any encoder or image classifier that transformers builds.

Its sizes are those of the module itself, built without memory.
"""

import hashlib
import json
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from topout.errors import UnsupportedError
from topout.models.config import ARCHITECTURES
from topout.models.pass_config import PassConfig

if TYPE_CHECKING:
    from torch import nn

_DEFAULT_CONTEXT_LEN = 512  # of encoders whose positions are relative, and state none


def runs_in_one_pass(config_json: dict[str, Any]) -> bool:
    """Whether a parsed `config.json` is of an encoder or an image classifier of transformers."""
    model_type = str(config_json.get("model_type"))
    if model_type in ARCHITECTURES or config_json.get("is_encoder_decoder"):
        return False
    from transformers.models.auto import modeling_auto as auto

    encoders: Container[str] = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    classifiers: Container[str] = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return model_type in encoders or model_type in classifiers


def read_pass_config(config_json: dict[str, Any], name: str) -> PassConfig:
    """The config of the class that `architectures` names, or of the usual one of its kind.

    Raises InputError for a config that transformers refuses, UnsupportedError for one of weights
    that are stored quantized, or of a model that takes more than tokens or images.
    """
    from topout.models.structure.build import build_on_meta

    if config_json.get("quantization_config"):
        raise UnsupportedError(
            f"{name}: its weights are stored quantized (`quantization_config`).",
            "Give the unquantized checkpoint.",
        )
    module = build_on_meta(config_json, name)
    config: Any = module.config
    main_input = getattr(module, "main_input_name", "")
    takes_images = main_input == "pixel_values"
    has_words = main_input == "input_ids" and isinstance(getattr(config, "vocab_size", None), int)
    if not (takes_images or has_words):
        raise UnsupportedError(
            f"{name}: {type(module).__name__} takes neither token ids nor images.",
            "Choose an encoder of text or a classifier of images.",
        )
    return PassConfig(
        name=name,
        architecture=str(config_json["model_type"]),
        class_name=type(module).__name__,
        takes="images" if takes_images else "tokens",
        parameters=sum(each.numel() for each in module.parameters()),
        layers=_layers(config),
        width=_last(getattr(config, "hidden_size", getattr(config, "hidden_sizes", 0))),
        heads=_last(getattr(config, "num_attention_heads", 0)),
        vocab_size=0 if takes_images else int(config.vocab_size),
        context_len=0 if takes_images else _context_len(module),
        channels=int(getattr(config, "num_channels", 3)) if takes_images else 0,
        image_size=_image_size(config, name) if takes_images else 0,
        outputs=_outputs(module),
        digest=hashlib.sha256(json.dumps(config_json, sort_keys=True).encode()).hexdigest(),
    )


def _layers(config: Any) -> int:
    """Layers of all stages."""
    stated = getattr(config, "num_hidden_layers", None)
    if isinstance(stated, int):
        return stated
    depths = getattr(config, "depths", [])
    return sum(depths) if isinstance(depths, list | tuple) else 0


def _last(stated: Any) -> int:
    """The number itself, or that of the last stage."""
    number = stated[-1] if isinstance(stated, list | tuple) and stated else stated
    return number if isinstance(number, int) else 0


def _context_len(module: "nn.Module") -> int:
    """Positions there are; where the padding has one, as in RoBERTa, those behind it."""
    config: Any = module.config
    for part_name, part in module.named_modules():
        if part_name.endswith("position_embeddings") and getattr(part, "padding_idx", None):
            table: Any = part
            return len(table.weight) - int(table.padding_idx) - 1
    stated = getattr(config, "max_position_embeddings", 0)
    return stated if isinstance(stated, int) and stated > 0 else _DEFAULT_CONTEXT_LEN


def _image_size(config: Any, name: str) -> int:
    from topout.models.structure.build import DEFAULT_IMAGE_SIZE

    stated = getattr(config, "image_size", DEFAULT_IMAGE_SIZE)
    height, width = stated if isinstance(stated, list | tuple) else (stated, stated)
    if height != width:
        raise UnsupportedError(
            f"{name}: images of {height}×{width} are not run.", "Choose a model of square images."
        )
    return int(height)


def _outputs(module: "nn.Module") -> int:
    """Logits of a position, by the class that is run; 0 where it has no head.

    Raises UnsupportedError for a class that is not run.
    """
    config: Any = module.config
    name = type(module).__name__
    if name.endswith(("ForMaskedLM", "LMHeadModel", "ForPreTraining")):
        return int(config.vocab_size)
    if name.endswith("Classification"):
        return int(config.num_labels)
    if name.endswith(("ForQuestionAnswering", "ForNextSentencePrediction")):
        return 2  # where an answer starts and ends; whether a sentence follows
    if name.endswith("Model"):
        return 0
    raise UnsupportedError(
        f"the class {name} is not run.",
        "Name another in `architectures` of config.json: the bare model, or one with a head for "
        "masked tokens, classes or answers.",
    )
