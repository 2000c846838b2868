"""Fetching a model from the Hugging Face Hub: the local cache first, then the network."""

from pathlib import Path

from topout.errors import InputError, TopoutError, UnknownNameError, WeightsError
from topout.models.checkpoint import find_weight_files
from topout.models.known import (
    countable_names,
    hub_id,
    known_encoder_names,
    known_names,
    short_name,
)

_CONFIG = "config.json"
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
