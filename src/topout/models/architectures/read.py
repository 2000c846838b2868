"""From what a user names, or a parsed `config.json`, to an architecture; no weights are read.

Of files of weights the headers are, where the config does not state the precision.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from topout.errors import InputError, UnsupportedError, WeightsError
from topout.models.architecture import Architecture
from topout.models.architectures.closed_models import read_gopher
from topout.models.architectures.encoders import read_bert, read_t5
from topout.models.architectures.image_models import read_resnet, read_vit
from topout.models.architectures.rotary_decoders import (
    read_gemma,
    read_gemma3,
    read_mixtral,
    read_qwen_moe,
)
from topout.models.checkpoint import find_weight_files, read_header, stored_dtype
from topout.models.config import read_config_json, read_decoder, read_json_object
from topout.models.fields import Fields
from topout.models.hub import fetch_config, require_hub_name, stated_hub_id
from topout.models.known import (
    bundled_folder,
    countable_names,
    known_config_json,
    short_name,
)
from topout.models.precision import stated_dtype
from topout.models.source import as_path
from topout.models.stored_weights import stored_weights

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
    "gopher": read_gopher,
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
    architecture = _read(Fields(config_json, name), image_size)
    return msgspec.structs.replace(
        architecture,
        published_dtype=stated_dtype(config_json, name),
        stored_weights=stored_weights(config_json, name),
    )


def _read(fields: Fields, image_size: int | None) -> Architecture:
    name = fields.source
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


def find_architecture(
    name_or_path: str, *, image_size: int | None = None, revision: str | None = None
) -> Architecture:
    """The architecture of a folder, a `config.json`, a bundled or known name or a hub id.

    Tried in that order, as `resolve_model` does; of a hub model only `config.json` is fetched,
    the local cache going before the network. `image_size`, in pixels, is for image models. Raises
    UnknownNameError with the nearest names, InputError (no such path, hub not reachable, bad
    config), UnsupportedError (a family that is not read) or WeightsError (a gated model).
    """
    return architecture_of(find_config(name_or_path, revision=revision), image_size=image_size)


class FoundConfig(NamedTuple):
    """A parsed `config.json`, and the folder or the file beside which it lay, if any."""

    name: str
    config_json: dict[str, Any]
    place: Path | None = None

    @property
    def published_dtype(self) -> str | None:
        """The precision that the config states, else that of the weights beside it, if any.

        Raises InputError as `stated_dtype` does.
        """
        return stated_dtype(self.config_json, self.name) or self._stored_dtype()

    def _stored_dtype(self) -> str | None:
        """By the headers; weights that are missing or broken state none: the config is enough."""
        if self.place is None:
            return None
        try:
            is_file = self.place.suffix == ".safetensors"
            files = [self.place] if is_file else find_weight_files(self.place)
            return stored_dtype(
                {name: each for file in files for name, each in read_header(file).items()}
            )
        except (OSError, WeightsError):
            return None


def architecture_of(found: FoundConfig, *, image_size: int | None = None) -> Architecture:
    """The architecture of a config that was found; raises as `read_architecture` does."""
    architecture = read_architecture(found.config_json, found.name, image_size=image_size)
    return msgspec.structs.replace(architecture, published_dtype=found.published_dtype)


def find_config(name_or_path: str, *, revision: str | None = None) -> FoundConfig:
    """The `config.json` of what a user names; raises as `find_architecture` does."""
    stated = stated_hub_id(name_or_path)
    here = None if stated is not None else _find_here(name_or_path)
    if here is not None:
        return here
    name = stated or name_or_path
    if (known := short_name(name)) is not None:
        return FoundConfig(known, known_config_json(known))
    if stated is None:
        require_hub_name(name, countable_names())
    folder = fetch_config(name, revision)
    return FoundConfig(name, read_config_json(folder), folder)


def _find_here(name_or_path: str) -> FoundConfig | None:
    """That of what is a path on this machine, or comes with topout."""
    path = as_path(name_or_path)
    if path.is_dir():
        return FoundConfig(path.resolve().name, read_config_json(path), path)
    if (bundled := bundled_folder(name_or_path)) is not None:
        return FoundConfig(bundled.name, read_config_json(bundled), bundled)
    if path.is_file():
        place = path if path.suffix == ".safetensors" else path.parent
        return FoundConfig(path.resolve().parent.name or path.name, _read_file(path), place)
    return None


def _read_file(path: Path) -> dict[str, Any]:
    """A `config.json`, or the one beside a file of weights."""
    if path.suffix == ".safetensors":
        return read_config_json(path.parent)
    if path.suffix != ".json":
        raise UnsupportedError(
            f"{path} is neither a config.json nor a safetensors file.",
            "Give the model's folder or its config.json.",
        )
    return read_json_object(path)
