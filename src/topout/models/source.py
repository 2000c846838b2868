"""From what a user names to where its config, weights and tokenizer are."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from topout.models.known import (
    bundled_folder,
    known_config,
    known_config_json,
    known_names,
    short_name,
)
from topout.records import WeightsOrigin


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded: checked, but none of its weights read yet."""

    name: str
    folder: Path | None  # None: a known shape without files
    config: ModelConfig
    config_json: dict[str, Any]  # the fields that `config` was read from
    origin: WeightsOrigin
    tensors: dict[str, StoredTensor]  # canonical name → where it lies; empty for random weights
    weights_dtype: str  # as stored: "fp32", "fp16", "bf16", "fp64"
    tokenizer_path: Path | None  # tokenizer.json or vocab.json
    seed: int  # of random weights
    fingerprint: str  # changes with the config, the weights or the seed


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
    path = as_path(name_or_path)
    if path.is_dir():
        return _from_folder(path, path.resolve().name, random_weights, seed)
    bundled = bundled_folder(name_or_path)
    if bundled is not None:
        return _from_folder(bundled, bundled.name, random_weights, seed)
    if path.is_file() or path.suffix in (".safetensors", *PICKLE_SUFFIXES):
        return _from_file(path, random_weights, seed)
    known = short_name(name_or_path)
    if known is not None:
        known_config(known)  # refuses what topout counts but does not run, before any download
    if random_weights and known is not None:
        return _random(known, None, known_config_json(known), seed)
    if is_path_like(name_or_path):
        raise InputError(f"no such folder or file: {name_or_path!r}.", "Check the path.")
    if known is None and "/" not in name_or_path:
        raise UnknownNameError(
            "model", name_or_path, known_names(), "Or give a folder in the Hugging Face layout."
        )
    return _from_folder(
        hub.fetch(name_or_path, revision), known or name_or_path, random_weights, seed
    )


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


def _from_folder(folder: Path, name: str, random_weights: bool, seed: int) -> ModelSource:
    config_json = read_config_json(folder)
    if random_weights:
        return _random(name, folder, config_json, seed)
    return _trained(name, folder, config_json, find_weight_files(folder))


def _from_file(file: Path, random_weights: bool, seed: int) -> ModelSource:
    refuse_pickle(file)
    if file.suffix != ".safetensors":
        raise UnsupportedError(
            f"{file} is not a safetensors file.", "Give a model folder or a *.safetensors file."
        )
    if not file.is_file():
        raise InputError(f"no such file: {file}.", "Check the path.")
    name, config_json = file.stem, read_config_json(file.parent)
    if random_weights:
        return _random(name, file.parent, config_json, seed)
    return _trained(name, file.parent, config_json, [file])


def _trained(
    name: str, folder: Path, config_json: dict[str, Any], files: list[Path]
) -> ModelSource:
    config = ModelConfig.from_hugging_face(config_json, name)
    tensors = read_tensors(files, config)
    try:
        digests = [digest_file(file) for file in files]
    except OSError as error:
        raise WeightsError(f"cannot read {error.filename}: {error.strerror}.") from None
    return ModelSource(
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


def _random(name: str, folder: Path | None, config_json: dict[str, Any], seed: int) -> ModelSource:
    config = ModelConfig.from_hugging_face(config_json, name)
    return ModelSource(
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
    is_split = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return folder / "vocab.json" if is_split else None


def _fingerprint(config: ModelConfig, *parts: bytes) -> str:
    # The name is left out: the same model in another folder is the same model.
    shape = msgspec.json.encode(msgspec.structs.replace(config, name=""))
    digest = hashlib.sha256()
    for part in (shape, *parts):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
