"""From what a user names to where its config, weights and tokenizer are."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from topout.errors import InputError, UnknownNameError, UnsupportedError, WeightsError
from topout.models import hub
from topout.models.checkpoint import (
    PICKLE_SUFFIXES,
    StoredTensor,
    digest_file,
    find_weight_files,
    read_tensors,
    refuse_pickle,
    stored_dtype,
)
from topout.models.config import ModelConfig, read_config_json
from topout.models.encoder_checkpoint import read_encoder_tensors
from topout.models.encoder_config import ENCODER_ARCHITECTURES, EncoderConfig
from topout.models.known import (
    bundled_folder,
    known_config_json,
    known_encoder_names,
    known_names,
    short_name,
)
from topout.records import WeightsOrigin

Config = TypeVar("Config", ModelConfig, EncoderConfig, ModelConfig | EncoderConfig, covariant=True)

_ReadConfig = Callable[[dict[str, Any], str], Config]


@dataclass(frozen=True)
class Source(Generic[Config]):
    """A model that can be loaded: checked, but none of its weights read yet."""

    name: str
    folder: Path | None  # None: a known shape without files
    config: Config
    config_json: dict[str, Any]  # the fields that `config` was read from
    origin: WeightsOrigin
    tensors: dict[str, StoredTensor]  # canonical name → where it lies; empty for random weights
    weights_dtype: str  # as stored: "fp32", "fp16", "bf16", "fp64"
    tokenizer_path: Path | None  # tokenizer.json, vocab.json or vocab.txt
    seed: int  # of random weights
    fingerprint: str  # changes with the config, the weights or the seed


ModelSource = Source[ModelConfig]  # of a decoder
EncoderSource = Source[EncoderConfig]
AnySource = Source[ModelConfig | EncoderConfig]


def resolve_model(
    name_or_path: str,
    *,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> ModelSource:
    """What a folder, a safetensors file, a bundled or known name or a hub id stands for.

    Tried in that order; the hub's local cache goes before the network. With `random_weights` the
    weights are made from `seed` and only the config is needed. Raises UnknownNameError,
    InputError (no such path, hub not reachable, bad config), UnsupportedError (architecture) or
    WeightsError (missing, truncated, pickled or not fitting the config).
    """
    kind = _Kind(ModelConfig.from_hugging_face, known_names())
    return _resolve(kind, name_or_path, random_weights, seed, revision)


def resolve_encoder(
    name_or_path: str,
    *,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> EncoderSource:
    """The same for an encoder: BERT, RoBERTa or DistilBERT. Raises as `resolve_model` does."""
    kind = _Kind(EncoderConfig.from_hugging_face, known_encoder_names())
    return _resolve(kind, name_or_path, random_weights, seed, revision)


def resolve_source(
    name_or_path: str,
    *,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> AnySource:
    """The same for a decoder or an encoder, by the `model_type` that its config states."""
    kind = _Kind(_read_any_config, [*known_names(), *known_encoder_names()])
    return _resolve(kind, name_or_path, random_weights, seed, revision)


def as_path(name_or_path: str) -> Path:
    """The path that a user's text could be; raises InputError when it can be none."""
    if not name_or_path.strip():
        raise InputError("the model's name is empty.", "Give a name, a folder or a hub id.")
    try:
        path = Path(name_or_path).expanduser()
        path.is_dir()
    except (OSError, ValueError, RuntimeError):
        raise InputError(
            f"{name_or_path[:80]!r} can be neither a name nor a path.", "Check the model's name."
        ) from None
    return path


def is_path_like(name: str) -> bool:
    """Whether a name can only mean a path, not a known name or a hub id."""
    return name.startswith((".", "~", os.sep)) or name.endswith(os.sep) or name.count("/") > 1


@dataclass(frozen=True)
class _Kind(Generic[Config]):
    """The models that are asked for."""

    read_config: _ReadConfig[Config]
    names: list[str]  # to offer for one that is not known


def _read_any_config(config_json: dict[str, Any], name: str) -> ModelConfig | EncoderConfig:
    if config_json.get("model_type") in ENCODER_ARCHITECTURES:
        return EncoderConfig.from_hugging_face(config_json, name)
    return ModelConfig.from_hugging_face(config_json, name)


def _resolve(
    kind: _Kind[Config], name_or_path: str, random_weights: bool, seed: int, revision: str | None
) -> Source[Config]:
    read = kind.read_config
    path = as_path(name_or_path)
    if path.is_dir():
        return _from_folder(read, path, path.resolve().name, random_weights, seed)
    bundled = bundled_folder(name_or_path)
    if bundled is not None:
        return _from_folder(read, bundled, bundled.name, random_weights, seed)
    if path.is_file() or path.suffix in (".safetensors", *PICKLE_SUFFIXES):
        return _from_file(read, path, random_weights, seed)
    known = short_name(name_or_path)
    if known is not None:
        # Refuses what topout counts but does not run, before any download.
        read(known_config_json(known), known)
    if random_weights and known is not None:
        return _random(read, known, None, known_config_json(known), seed)
    if is_path_like(name_or_path):
        raise InputError(f"no such folder or file: {name_or_path!r}.", "Check the path.")
    if known is None and "/" not in name_or_path:
        raise UnknownNameError(
            "model", name_or_path, kind.names, "Or give a folder in the Hugging Face layout."
        )
    return _from_folder(
        read, hub.fetch(name_or_path, revision), known or name_or_path, random_weights, seed
    )


def _from_folder(
    read: _ReadConfig[Config], folder: Path, name: str, random_weights: bool, seed: int
) -> Source[Config]:
    config_json = read_config_json(folder)
    if random_weights:
        return _random(read, name, folder, config_json, seed)
    return _trained(read, name, folder, config_json, find_weight_files(folder))


def _from_file(
    read: _ReadConfig[Config], file: Path, random_weights: bool, seed: int
) -> Source[Config]:
    refuse_pickle(file)
    if file.suffix != ".safetensors":
        raise UnsupportedError(
            f"{file} is not a safetensors file.", "Give a model folder or a *.safetensors file."
        )
    if not file.is_file():
        raise InputError(f"no such file: {file}.", "Check the path.")
    name, config_json = file.stem, read_config_json(file.parent)
    if random_weights:
        return _random(read, name, file.parent, config_json, seed)
    return _trained(read, name, file.parent, config_json, [file])


def _trained(
    read: _ReadConfig[Config],
    name: str,
    folder: Path,
    config_json: dict[str, Any],
    files: list[Path],
) -> Source[Config]:
    config = read(config_json, name)
    tensors = (
        read_encoder_tensors(files, config)
        if isinstance(config, EncoderConfig)
        else read_tensors(files, config)
    )
    try:
        digests = [digest_file(file) for file in files]
    except OSError as error:
        raise WeightsError(f"cannot read {error.filename}: {error.strerror}.") from None
    return Source(
        name=name,
        folder=folder,
        config=config,
        config_json=config_json,
        origin="trained",
        tensors=tensors,
        weights_dtype=stored_dtype(tensors),
        tokenizer_path=_tokenizer_path(folder),
        seed=0,
        fingerprint=_fingerprint(config, b"trained", *digests),
    )


def _random(
    read: _ReadConfig[Config],
    name: str,
    folder: Path | None,
    config_json: dict[str, Any],
    seed: int,
) -> Source[Config]:
    config = read(config_json, name)
    return Source(
        name=name,
        folder=folder,
        config=config,
        config_json=config_json,
        origin="random",
        tensors={},
        weights_dtype="fp32",
        tokenizer_path=None if folder is None else _tokenizer_path(folder),
        seed=seed,
        fingerprint=_fingerprint(config, b"random", str(seed).encode()),
    )


def _tokenizer_path(folder: Path) -> Path | None:
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder / "vocab.json"
    return folder / "vocab.txt" if (folder / "vocab.txt").is_file() else None


def _fingerprint(config: ModelConfig | EncoderConfig, *parts: bytes) -> str:
    shape = msgspec.json.encode(_nameless(config))
    digest = hashlib.sha256()
    for part in (shape, *parts):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _nameless(config: ModelConfig | EncoderConfig) -> ModelConfig | EncoderConfig:
    # The same model in another folder is the same model.
    if isinstance(config, EncoderConfig):
        nameless = msgspec.structs.replace(config.architecture, name="")
        return msgspec.structs.replace(config, architecture=nameless)
    return msgspec.structs.replace(config, name="")
