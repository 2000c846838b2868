"""Models by name: the bundled ones, known shapes and their hub ids, and those of the hub.

Of the hub the local cache goes before the network.
"""

import copy
from pathlib import Path

from topout.errors import InputError, TopoutError, UnknownNameError, WeightsError
from topout.extras import is_installed, missing
from topout.models.checkpoint import find_weight_files
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

DEFAULT_MODEL = "pycode-7m"

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"
# A smaller model with the same tokenizer, which can propose what the larger one verifies.
DRAFTS = {"pycode-7m": "pycode-1m"}
_BUNDLED = {"pycode-7m": "pycode-7m", "pycode-1m": "pycode-1m", "bundled": DEFAULT_MODEL}

_KNOWN: KnownShapes = DECODERS | QWEN | GEMMA | MIXTURES | ENCODERS | IMAGE_MODELS
# What people also call them.
_ALIASES = {
    "llama-3-405b": "llama-3.1-405b",
    "bert-base": "bert-base-uncased",
    "bert-large": "bert-large-uncased",
    "distilbert": "distilbert-base-uncased",
    "distilbert-base": "distilbert-base-uncased",
    "vit-base": "vit-base-patch16-224",
    "vit-large": "vit-large-patch16-224",
}


def known_names() -> list[str]:
    """Every name of a decoder that topout can run, the bundled ones first."""
    runs = [name for name, (_, fields) in _KNOWN.items() if fields["model_type"] in ARCHITECTURES]
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


_CONFIG = "config.json"
_HUB = "huggingface_hub"
_WANTED = [
    _CONFIG,
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
]
_TIMEOUT_S = 5.0


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of the snapshot of a hub model, downloaded when the cache lacks it.

    Raises UnknownNameError for a name that the hub does not have, WeightsError for a gated model
    or one without safetensors, InputError when the hub cannot be reached.
    """
    cached = _cached_snapshot(hub_id(name), revision, _WANTED)
    if cached is not None and _has_weights(cached):
        return cached
    random_remedy = ", or take --random-weights" if short_name(name) else ""
    known = [*known_names(), *known_encoder_names()]
    return _download(name, revision, _WANTED, known, random_remedy)


def fetch_config(name: str, revision: str | None = None) -> Path:
    """The folder with the `config.json` of a hub model, without its weights.

    The local cache goes first. Raises as `fetch` does.
    """
    cached = _cached_snapshot(hub_id(name), revision, [_CONFIG])
    return cached or _download(name, revision, [_CONFIG], countable_names())


def _cached_snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path | None:
    """The snapshot in the local cache, or None when there is none with a config."""
    if not is_installed(_HUB):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=patterns, local_files_only=True
            )
        )
    except (OSError, HFValidationError):
        return None
    return folder if (folder / _CONFIG).is_file() else None


def _has_weights(folder: Path) -> bool:
    try:
        find_weight_files(folder)
    except (OSError, WeightsError):
        return False
    return True


def _download(
    name: str, revision: str | None, patterns: list[str], known: list[str], other_remedy: str = ""
) -> Path:
    """The snapshot from the network; `known` are the names to offer for one the hub lacks."""
    if not is_installed(_HUB):
        told = missing(_HUB, "climb", "The Hugging Face hub")
        raise UnknownNameError("model", name, known, f"{told.message} {told.remedy}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository = hub_id(name)
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=patterns, etag_timeout=_TIMEOUT_S
            )
        )
    except GatedRepoError:
        raise WeightsError(
            f"{repository} asks for a licence to be accepted on the Hugging Face Hub.",
            f"Accept it there and log in with `hf auth login`{other_remedy}.",
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"{repository} has no revision {revision!r}.", "Give a branch, tag or commit of it."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UnknownNameError(
            "model", name, known, "Or give a folder in the Hugging Face layout."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise _unreachable(name, other_remedy) from None
    except Exception as error:
        # httpx2's errors are not OSErrors, and which http client the hub uses is its own affair.
        if type(error).__module__.partition(".")[0].startswith("httpx"):
            raise _unreachable(name, other_remedy) from None
        raise


def _unreachable(name: str, other_remedy: str) -> TopoutError:
    return InputError(
        f"{name!r} is not on this machine, and the Hugging Face Hub cannot be reached.",
        f"Give a folder that holds the model{other_remedy}.",
    )
