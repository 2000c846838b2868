"""A transformers model from its `config.json` alone, on the meta device, and inputs for it."""

import contextlib
import inspect
import json
import logging
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from topout.errors import InputError, UnsupportedError
from topout.models.fields import Fields
from topout.models.hub import offline
from topout.models.plain_fields import plain_fields

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

DEFAULT_LENGTH = 128
MOST_BUILT_LAYERS = 1000  # modules of so many take half a minute to build and to follow
_MOST_ELEMENTS = 1 << 40  # of an input; products of its sizes have to stay below 2⁶³
DEFAULT_IMAGE_SIZE = 224
Inputs = dict[str, Any]
Head = Literal["none", "lm", "masked-lm", "seq2seq", "classify", "tokens", "answers"]
# The tables of transformers in which a model's class with such a head stands.
_HEADS: dict[str, str] = {
    "none": "MODEL_MAPPING_NAMES",
    "lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked-lm": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "classify": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "tokens": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "answers": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}


def build_on_meta(
    config_json: dict[str, Any], name: str, dtype: str = "fp32", head: Head | None = None
) -> nn.Module:
    """The module that a parsed `config.json` describes, its parameters shapes without memory.

    The class is the one with `head`; by default the one that `architectures` names where
    transformers has it; else the one with a language-model head for decoders and encoder-decoders,
    the classifier for image models, the bare model for encoders. Code that comes with a checkpoint
    is never run, and nothing is fetched. Attention is built in its plain form, with the products
    apart. Raises InputError for a config that transformers refuses or an unknown `dtype`,
    UnsupportedError for a `model_type` that it does not know.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known.", f"Choose {', '.join(DTYPES)}.")
    model_type = Fields(config_json, name).text("model_type")
    _refuse_depth(config_json, name)
    with quiet_transformers(), offline():
        try:
            config = config_of(config_json, name)
            model_class = _model_class(config, config_json, name, head)
            with torch.device("meta"):
                module: nn.Module = model_class._from_config(
                    config,
                    dtype=DTYPES[dtype],
                    attn_implementation="eager",
                    # Every expert at once; choosing them by their tokens needs values.
                    experts_implementation="batched_mm",
                )
        except (InputError, UnsupportedError):
            raise
        except Exception as error:  # transformers raises whatever its fields lead to
            raise InputError(
                f"{name}: transformers builds no {model_type} of this config ({_line(error)}).",
                "Correct config.json.",
            ) from None
    return module.eval()


def _refuse_depth(config_json: dict[str, Any], name: str) -> None:
    """Raise InputError that names a field with more layers than can be built one by one."""
    for key, value in config_json.items():
        if isinstance(value, dict):
            _refuse_depth(value, f"{name} `{key}`")
        is_depth = key == "depths" or (
            key.startswith(("n", "encoder", "decoder")) and "layer" in key
        )
        counts = value if isinstance(value, list) else [value]
        numbers = [each for each in counts if isinstance(each, int)]
        if is_depth and sum(numbers) > MOST_BUILT_LAYERS:
            raise Fields(config_json, name).wrong(
                key, value, f"at most {MOST_BUILT_LAYERS} where the model is built layer by layer"
            )


def config_of(config_json: dict[str, Any], name: str) -> Any:
    """The config object of transformers, of plain fields alone.

    Raises UnsupportedError for an unknown model_type.
    """
    config_class = _config_class(config_json, name)
    config = config_class.from_dict(plain_fields(config_json))
    if hasattr(config, "use_pretrained_backbone"):  # by default of some
        config.use_pretrained_backbone = False
    return config


def text_part(config_json: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the part that reads text, of a model that also sees or hears; None without.

    It is as transformers completes it, with what the whole states of precision and tied tables.
    None as well where transformers refuses the whole, which building it says.
    """
    if not isinstance(config_json.get("text_config"), dict):
        return None
    with quiet_transformers(), offline():
        try:
            whole = config_of(config_json, "the model")
        except Exception:  # transformers raises whatever its fields lead to
            return None
    part: dict[str, Any] = json.loads(whole.get_text_config().to_json_string(use_diff=False))
    for key in ("torch_dtype", "dtype", "tie_word_embeddings"):
        if key in config_json:
            part[key] = config_json[key]
    return part | {"architectures": None}


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps the remarks of transformers, and its bars of progress, off the terminal."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    has_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if has_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _config_class(config_json: dict[str, Any], name: str) -> Any:
    """That of the `model_type`, else of the class that `architectures` names."""
    from transformers import CONFIG_MAPPING

    model_type = Fields(config_json, name).text("model_type")
    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    stated = _stated_class(config_json, name)
    if stated is not None:
        return stated.config_class
    own = ", and its own code is never run" if config_json.get("auto_map") else ""
    raise UnsupportedError(
        f"{name}: transformers has no model_type {model_type!r}{own}.",
        "Build the module yourself and give it to `summarize_layers`.",
    )


def _stated_class(config_json: dict[str, Any], name: str) -> Any:
    """The first class of transformers that `architectures` names; None without."""
    import transformers

    for class_name in Fields(config_json, name).texts("architectures", []):
        found = getattr(transformers, class_name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return None


def _model_class(config: Any, config_json: dict[str, Any], name: str, head: Head | None) -> Any:
    import transformers

    if head is not None:
        return _class_with_head(config.model_type, name, head)
    stated = _stated_class(config_json, name)
    if stated is not None:
        return stated
    model_type = config.model_type
    chosen = _default_class(
        model_type,
        bool(getattr(config, "is_encoder_decoder", False)),
        getattr(config, "text_config", None) is not None,
    )
    if chosen is None:
        raise UnsupportedError(
            f"{name}: which class of {model_type} to build is not known.",
            "Name it in `architectures` of config.json.",
        )
    return getattr(transformers, chosen)


def _class_with_head(model_type: str, name: str, head: Head) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    found = getattr(auto, _HEADS[head]).get(model_type)
    if found is None:
        has = [each for each, table in _HEADS.items() if model_type in getattr(auto, table)]
        raise UnsupportedError(
            f"{name}: transformers has no {model_type} with the head {head!r}.",
            f"It has {', '.join(has)}." if has else "Leave --head out.",
        )
    return getattr(transformers, found if isinstance(found, str) else found[0])


def _default_class(model_type: str, is_encoder_decoder: bool, is_composite: bool) -> str | None:
    from transformers.models.auto import modeling_auto as auto

    tables: list[Any]
    if is_encoder_decoder:
        tables = [
            auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
            auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        ]
    elif is_composite:
        tables = [
            auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
            auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        ]
    elif model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        tables = []  # encoders, of which transformers also makes decoders
    else:
        tables = [
            auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        ]
    for table in (*tables, auto.MODEL_MAPPING_NAMES):
        if model_type in table:
            found = table[model_type]
            return str(found if isinstance(found, str) else found[0])
    return None


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:200]}" if lines else type(error).__name__


def example_inputs(
    module: nn.Module, batch_size: int = 1, length: int | None = None
) -> list[Inputs]:
    """Keyword arguments for `module`, in the ways in which it may run without values.

    Token ids are batch × length (default: 128, or the context where that is less), of encoder and
    decoder alike; images batch × channels × height × width. Some models look into a mask that is
    not given and some into one that is, which meta tensors do not allow: take the first of the
    list that runs. Raises InputError for a size below 1 or a length above the context,
    UnsupportedError for a model that takes neither tokens nor images.
    """
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is below 1.", "Give 1 or more.")
    taken = inspect.signature(module.forward).parameters
    inputs: Inputs = {}
    if "input_ids" in taken:
        tokens = _tokens(module, batch_size, length)
        inputs["input_ids"] = tokens
        if "decoder_input_ids" in taken:
            inputs["decoder_input_ids"] = tokens.clone()
    if "pixel_values" in taken:
        inputs["pixel_values"] = _image(module, batch_size)
    if not inputs:
        raise UnsupportedError(
            f"{type(module).__name__} takes neither token ids nor images.",
            "Give `summarize_layers` the module with inputs of your own.",
        )
    if "use_cache" in taken:
        inputs["use_cache"] = False
    if "attention_mask" not in taken or "input_ids" not in inputs:
        return [inputs]
    mask = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    return [inputs, inputs | {"attention_mask": mask}]


def _tokens(module: nn.Module, batch_size: int, length: int | None) -> Tensor:
    config: Any = module.config
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if length is None:
        length = min(DEFAULT_LENGTH, context or DEFAULT_LENGTH)
    if length < 1:
        raise InputError(f"length {length} is below 1.", "Give 1 or more tokens.")
    if isinstance(context, int) and 0 < context < length:
        raise InputError(
            f"length {length} is above the model's context of {context} tokens.", "Give less."
        )
    _refuse_elements(batch_size, length)
    return torch.zeros(batch_size, length, dtype=torch.long, device="meta")


def _image(module: nn.Module, batch_size: int) -> Tensor:
    config: Any = module.config
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", DEFAULT_IMAGE_SIZE)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(config, "num_channels", 3)
    _refuse_elements(batch_size, channels, height, width)
    dtype = next(module.parameters()).dtype
    return torch.zeros(batch_size, channels, height, width, dtype=dtype, device="meta")


def _refuse_elements(*sizes: int) -> None:
    if math.prod(sizes) > _MOST_ELEMENTS:
        stated = " × ".join(map(str, sizes))
        raise InputError(
            f"an input of {stated} is larger than any machine holds.",
            "Give a smaller --batch-size or --prompt-len.",
        )
