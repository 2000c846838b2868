"""A transformers model from its `config.json` alone: on the meta device, without weights."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from topout.errors import InputError, UnsupportedError
from topout.models.fields import Fields

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_on_meta(config_json: dict[str, Any], name: str, dtype: str = "fp32") -> nn.Module:
    """The module that a parsed `config.json` describes, its parameters shapes without memory.

    The class is the one that `architectures` names where transformers has it; else the one with a
    language-model head for decoders and encoder-decoders, the classifier for image models, the
    bare model for encoders. Code that comes with a checkpoint is never run, and nothing is
    fetched. Attention is built in its plain form, with the products apart. Raises InputError for
    a config that transformers refuses or an unknown `dtype`, UnsupportedError for a `model_type`
    that it does not know.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known.", f"Choose {', '.join(DTYPES)}.")
    model_type = Fields(config_json, name).text("model_type")
    with quiet_transformers():
        try:
            config = _config_class(model_type, name).from_dict(config_json)
            model_class = _model_class(config, config_json, name)
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


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers' remarks on configs and missing kernels off the terminal."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _config_class(model_type: str, name: str) -> Any:
    from transformers import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[model_type]
    except KeyError:
        raise UnsupportedError(
            f"{name}: transformers has no model_type {model_type!r}.",
            "Build the module yourself and give it to `summarize_layers`.",
        ) from None


def _model_class(config: Any, config_json: dict[str, Any], name: str) -> Any:
    import transformers

    for class_name in Fields(config_json, name).texts("architectures", []):
        found = getattr(transformers, class_name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    model_type = config.model_type
    chosen = _default_class(model_type, bool(getattr(config, "is_encoder_decoder", False)))
    if chosen is None:
        raise UnsupportedError(
            f"{name}: which class of {model_type} to build is not known.",
            "Name it in `architectures` of config.json.",
        )
    return getattr(transformers, chosen)


def _default_class(model_type: str, is_encoder_decoder: bool) -> str | None:
    from transformers.models.auto import modeling_auto as auto

    tables: list[Any]
    if is_encoder_decoder:
        tables = [auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES]
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
