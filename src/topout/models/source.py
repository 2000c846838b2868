"""From what a user names to where its config, weights and tokenizer are."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from topout.errors import InputError, UnsupportedError, WeightsError
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
from topout.models.hub import fetch, require_hub_name, stated_hub_id
from topout.models.known import (
    bundled_folder,
    known_config_json,
    known_encoder_names,
    known_names,
    short_name,
)
from topout.models.pass_config import PassConfig
from topout.models.precision import stated_dtype
from topout.records import WeightsOrigin

if TYPE_CHECKING:
    from torch import Tensor

Config = TypeVar(
    "Config", ModelConfig, EncoderConfig, ModelConfig | EncoderConfig, PassConfig, covariant=True
)


IN_MEMORY = "in-memory"  # the fingerprint of weights that are in no file


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
    memory: "Mapping[str, Tensor] | None" = None  # the tensors, where they are in no file

    @property
    def published_dtype(self) -> str | None:
        """What the config states, else what the weights are stored in; None without any."""
        stored = self.weights_dtype if self.tensors else None
        return stated_dtype(self.config_json, self.name) or stored


ModelSource = Source[ModelConfig]  # of a decoder
EncoderSource = Source[EncoderConfig]
AnySource = Source[ModelConfig | EncoderConfig]
PassSource = Source[PassConfig]  # of what runs in one pass, by transformers


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
    kind = Kind(ModelConfig.from_hugging_face, read_tensors, _nameless, known_names())
    return resolve(kind, name_or_path, random_weights, seed, revision)


def resolve_encoder(
    name_or_path: str,
    *,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> EncoderSource:
    """The same for an encoder: BERT, RoBERTa or DistilBERT. Raises as `resolve_model` does."""
    read_config = EncoderConfig.from_hugging_face
    kind = Kind(read_config, read_encoder_tensors, _nameless_encoder, known_encoder_names())
    return resolve(kind, name_or_path, random_weights, seed, revision)


def resolve_source(
    name_or_path: str,
    *,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> AnySource:
    """The same for a decoder or an encoder, by the `model_type` that its config states."""
    names = [*known_names(), *known_encoder_names()]
    kind = Kind(_read_any_config, _read_any_tensors, _nameless_of_any, names)
    return resolve(kind, name_or_path, random_weights, seed, revision)


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


class Kind(NamedTuple, Generic[Config]):
    """A kind of models: how a config of it is read, its tensors, and what tells two models apart.

    `names` are those to offer for one that is not known.
    """

    read_config: Callable[[dict[str, Any], str], Config]
    read_tensors: Callable[[list[Path], Config], dict[str, StoredTensor]]
    nameless: Callable[[Config], Config]  # the same model in another folder is the same model
    names: list[str]


def resolve(
    kind: Kind[Config],
    name_or_path: str,
    random_weights: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> Source[Config]:
    """What a name or path stands for as a model of a kind; as `resolve_model` says."""
    asked = _Asked(kind, random_weights, seed)
    stated = stated_hub_id(name_or_path)
    here = None if stated is not None else _resolve_here(asked, name_or_path)
    if here is not None:
        return here
    name = stated or name_or_path
    known = short_name(name)
    if known is not None:
        config_json = known_config_json(known)
        # Refuses what topout counts but does not run, before any download.
        config = kind.read_config(config_json, known)
        if random_weights:
            return _source(asked, known, None, config_json, config, [])
    if stated is None:
        require_hub_name(name, kind.names)

    def refuse(folder: Path) -> None:
        kind.read_config(read_config_json(folder), known or name)

    return _from_folder(asked, fetch(name, revision, refuse), known or name)


def _resolve_here(asked: "_Asked[Config]", name_or_path: str) -> Source[Config] | None:
    """What is a path on this machine, or comes with topout."""
    path = as_path(name_or_path)
    if path.is_dir():
        return _from_folder(asked, path, path.resolve().name)
    bundled = bundled_folder(name_or_path)
    if bundled is not None:
        return _from_folder(asked, bundled, bundled.name)
    if path.is_file() or path.suffix in (".safetensors", *PICKLE_SUFFIXES):
        return _from_file(asked, path)
    return None


class _Asked(NamedTuple, Generic[Config]):
    """A kind of models, and with which weights."""

    kind: Kind[Config]
    random_weights: bool
    seed: int


def _from_folder(asked: _Asked[Config], folder: Path, name: str) -> Source[Config]:
    config_json = read_config_json(folder)
    config = asked.kind.read_config(config_json, name)
    files = [] if asked.random_weights else find_weight_files(folder)
    return _source(asked, name, folder, config_json, config, files)


def _from_file(asked: _Asked[Config], file: Path) -> Source[Config]:
    refuse_pickle(file)
    if file.suffix != ".safetensors":
        raise UnsupportedError(
            f"{file} is not a safetensors file.", "Give a model folder or a *.safetensors file."
        )
    if not file.is_file():
        raise InputError(f"no such file: {file}.", "Check the path.")
    config_json = read_config_json(file.parent)
    config = asked.kind.read_config(config_json, file.stem)
    return _source(asked, file.stem, file.parent, config_json, config, [file])


def _source(
    asked: _Asked[Config],
    name: str,
    folder: Path | None,
    config_json: dict[str, Any],
    config: Config,
    files: list[Path],
) -> Source[Config]:
    origin: WeightsOrigin = "random" if asked.random_weights else "trained"
    seed, tensors, told = asked.seed, {}, [str(asked.seed).encode()]
    if origin == "trained":
        seed = 0
        tensors = asked.kind.read_tensors(files, config)
        try:
            told = [digest_file(file) for file in files]
        except OSError as error:
            raise WeightsError(f"cannot read {error.filename}: {error.strerror}.") from None
    shape = msgspec.json.encode(asked.kind.nameless(config))
    return Source(
        name=name,
        folder=folder,
        config=config,
        config_json=config_json,
        origin=origin,
        tensors=tensors,
        weights_dtype=stored_dtype(tensors) or "fp32",
        tokenizer_path=None if folder is None else tokenizer_path(folder),
        seed=seed,
        fingerprint=_fingerprint(shape, origin.encode(), *told),
    )


def tokenizer_path(folder: Path) -> Path | None:
    """The tokenizer in a folder: tokenizer.json, vocab.json or vocab.txt; None without."""
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder / "vocab.json"
    return folder / "vocab.txt" if (folder / "vocab.txt").is_file() else None


def _fingerprint(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _nameless(config: ModelConfig) -> ModelConfig:
    return msgspec.structs.replace(config, name="")


def _nameless_encoder(config: EncoderConfig) -> EncoderConfig:
    nameless = msgspec.structs.replace(config.architecture, name="")
    return msgspec.structs.replace(config, architecture=nameless)


def _read_any_config(config_json: dict[str, Any], name: str) -> ModelConfig | EncoderConfig:
    if config_json.get("model_type") in ENCODER_ARCHITECTURES:
        return EncoderConfig.from_hugging_face(config_json, name)
    return ModelConfig.from_hugging_face(config_json, name)


def _read_any_tensors(
    files: list[Path], config: ModelConfig | EncoderConfig
) -> dict[str, StoredTensor]:
    if isinstance(config, EncoderConfig):
        return read_encoder_tensors(files, config)
    return read_tensors(files, config)


def _nameless_of_any(config: ModelConfig | EncoderConfig) -> ModelConfig | EncoderConfig:
    return _nameless_encoder(config) if isinstance(config, EncoderConfig) else _nameless(config)
