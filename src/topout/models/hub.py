"""Fetching a model from the Hugging Face Hub: the local cache first, then the network."""

from pathlib import Path

from topout.errors import InputError, TopoutError, UnknownNameError, WeightsError
from topout.models.checkpoint import find_weight_files
from topout.models.known import hub_id, known_names, short_name

_WANTED = [
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
]
_TIMEOUT_S = 5.0


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of the snapshot of a hub model, downloaded when the cache lacks it.

    Raises UnknownNameError for a name that the hub does not have, WeightsError for a gated model
    or one without safetensors, InputError when the hub cannot be reached.
    """
    repository = hub_id(name)
    cached = _cached_snapshot(repository, revision)
    return cached if cached is not None else _download(name, repository, revision)


def _cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """The complete snapshot in the local cache, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=_WANTED, local_files_only=True
            )
        )
        find_weight_files(folder)
    except (OSError, HFValidationError, WeightsError):
        return None
    return folder if (folder / "config.json").is_file() else None


def _download(name: str, repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    random_remedy = ", or take --random-weights" if short_name(name) else ""
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=_WANTED, etag_timeout=_TIMEOUT_S
            )
        )
    except GatedRepoError:
        raise WeightsError(
            f"{repository} asks for a licence to be accepted on the Hugging Face Hub.",
            f"Accept it there and log in with `hf auth login`{random_remedy}.",
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"{repository} has no revision {revision!r}.", "Give a branch, tag or commit of it."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UnknownNameError(
            "model", name, known_names(), "Or give a folder in the Hugging Face layout."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise _unreachable(name, random_remedy) from None
    except Exception as error:
        # httpx2's errors are not OSErrors, and which http client the hub uses is its own affair.
        if type(error).__module__.partition(".")[0].startswith("httpx"):
            raise _unreachable(name, random_remedy) from None
        raise


def _unreachable(name: str, random_remedy: str) -> TopoutError:
    return InputError(
        f"{name!r} is not on this machine, and the Hugging Face Hub cannot be reached.",
        f"Give a folder that holds the model{random_remedy}.",
    )
