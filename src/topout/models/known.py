"""Models by name: the bundled ones, and known shapes with their hub ids."""

import copy
from pathlib import Path

from topout.errors import UnknownNameError
from topout.models.architectures.closed_models import CLOSED
from topout.models.config import ARCHITECTURES, read_config_json
from topout.models.encoder_config import ENCODER_ARCHITECTURES
from topout.models.known_shapes import (
    DECODERS,
    ENCODERS,
    GEMMA,
    IMAGE_MODELS,
    MIXTURES,
    QWEN,
    ConfigJson,
    KnownShapes,
)
from topout.models.known_today import TODAY

DEFAULT_MODEL = "pycode-7m"

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"
# A smaller model with the same tokenizer, which can propose what the larger one verifies.
DRAFTS = {"pycode-7m": "pycode-1m"}
_BUNDLED = {"pycode-7m": "pycode-7m", "pycode-1m": "pycode-1m", "bundled": DEFAULT_MODEL}

_KNOWN: KnownShapes = DECODERS | QWEN | GEMMA | MIXTURES | TODAY | CLOSED | ENCODERS | IMAGE_MODELS
# What people also call them.
_ALIASES = {
    "llama-3-405b": "llama-3.1-405b",
    "gpt-3-175b": "gpt-3",
    "palm-540b": "palm",
    "gopher-280b": "gopher",
    "chinchilla-70b": "chinchilla",
    "bloom-176b": "bloom",
    "bert-base": "bert-base-uncased",
    "bert-large": "bert-large-uncased",
    "distilbert": "distilbert-base-uncased",
    "distilbert-base": "distilbert-base-uncased",
    "vit-base": "vit-base-patch16-224",
    "vit-large": "vit-large-patch16-224",
}


def known_names() -> list[str]:
    """Every name of a decoder that topout can run, the bundled ones first."""
    runs = [
        name
        for name, (_, fields) in _KNOWN.items()
        if fields["model_type"] in ARCHITECTURES and name not in CLOSED
    ]
    return [*_BUNDLED, *runs]


def known_encoder_names() -> list[str]:
    """Every name of an encoder that topout can run."""
    types = {name: fields["model_type"] for name, (_, fields) in _KNOWN.items()}
    return [name for name, kind in types.items() if kind in ENCODER_ARCHITECTURES]


def known_pass_names() -> list[str]:
    """Every name of an encoder or image classifier, which run in one pass."""
    return [*known_encoder_names(), *IMAGE_MODELS]


def countable_names() -> list[str]:
    """Every name of a model whose cost topout counts: those that it runs and others."""
    return [*_BUNDLED, *_KNOWN]


def bundled_folder(name: str) -> Path | None:
    """The folder of a bundled model with trained weights; None for any other name."""
    return _BUNDLED_FOLDER / _BUNDLED[name.lower()] if name.lower() in _BUNDLED else None


def short_name(name: str) -> str | None:
    """The short name of a known model that is given by it or by its hub id, in any case.

    Also of models that topout counts but does not run.
    """
    lowered = name.lower()
    lowered = _ALIASES.get(lowered, lowered)
    if lowered in _KNOWN:
        return lowered
    return next((short for short, (hub, _) in _KNOWN.items() if hub.lower() == lowered), None)


def hub_id(name: str) -> str:
    """The hub id of a model: that of a known name, else the name itself."""
    short = short_name(name)
    return name if short is None else _KNOWN[short][0]


def known_config_json(name: str) -> ConfigJson:
    """The `config.json` fields of a known model; raises UnknownNameError with the nearest names."""
    folder = bundled_folder(name)
    if folder is not None:
        return read_config_json(folder)
    short = short_name(name)
    if short is None:
        raise UnknownNameError(
            "model", name, countable_names(), "Or give a folder in the Hugging Face layout."
        )
    return copy.deepcopy(_KNOWN[short][1])
