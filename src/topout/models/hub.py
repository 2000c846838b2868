"""Models of the Hugging Face Hub: which name is meant as one, and how it comes to this machine.

The local cache goes before the network. The network is reached for what the user named as a model
of the hub, never for a typing error in a path, nor for a name that only a file states; and it is
said before it happens.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from topout.errors import InputError, TopoutError, UnknownNameError, WeightsError
from topout.extras import is_installed, missing
from topout.models.checkpoint import find_weight_files
from topout.models.known import (
    countable_names,
    hub_id,
    known_encoder_names,
    known_names,
    short_name,
)
from topout.progress import say

_PREFIX = "hub:"
_OFFLINE = ("TOPOUT_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_NO = ("", "0", "off", "no", "false")
_only_stated_by: ContextVar[str | None] = ContextVar("only_stated_by", default=None)
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


def stated_hub_id(name: str) -> str | None:
    """What follows "hub:", which is a model of the hub whatever lies here; None for other names."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def require_hub_name(name: str, known: list[str]) -> None:
    """Let pass a name that is no path here and can be meant as a model of the hub.

    That is a known name, or `org/model` where there is no folder `org`. Raises InputError for what
    can only be a path, and UnknownNameError with the nearest of `known`.
    """
    if is_path_like(name) or name.endswith(".json"):
        raise InputError(f"no such folder or file: {name!r}.", "Check the path.")
    owner, slash, _ = name.partition("/")
    if slash and Path(owner).exists():
        raise InputError(
            f"no such folder or file: {name!r}. There is a folder {owner!r} here, so it is not "
            "looked for on the Hugging Face Hub.",
            f"Check the path; the model of the hub is {_PREFIX}{name}.",
        )
    if not slash and short_name(name) is None:
        raise UnknownNameError("model", name, known, "Or give a folder in the Hugging Face layout.")


def is_path_like(name: str) -> bool:
    """Whether a name can only mean a path, not a known name or a hub id."""
    return name.startswith((".", "~", os.sep)) or name.endswith(os.sep) or name.count("/") > 1


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """In the `with` block the hub's library reaches no network, whoever asks it; it is installed.

    For transformers, which would fetch what a config names.
    """
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def only_stated_by(file: str) -> Iterator[None]:
    """In the `with` block nothing is fetched: names of models come from `file`, not the user."""
    token = _only_stated_by.set(file)
    try:
        yield
    finally:
        _only_stated_by.reset(token)


def fetch(
    name: str, revision: str | None = None, refuse: Callable[[Path], None] | None = None
) -> Path:
    """The folder of the snapshot of a hub model, downloaded when the cache lacks it.

    `refuse` is given the folder with its config alone before anything else is downloaded, and
    raises for a model that is not run. Raises UnknownNameError for a name that the hub does not
    have, WeightsError for a gated model or one without safetensors, InputError when the hub cannot
    be reached.
    """
    cached = _cached_snapshot(hub_id(name), revision, _WANTED)
    if cached is not None and _has_weights(cached):
        return cached
    random_remedy = ", or take --random-weights" if short_name(name) else ""
    known = [*known_names(), *known_encoder_names()]
    if refuse is not None and short_name(name) is None:  # the shapes of known names were read
        refuse(_download(name, revision, [_CONFIG], known, random_remedy))
        return _download(name, revision, _WANTED, known, random_remedy, quiet=True)
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
    name: str,
    revision: str | None,
    patterns: list[str],
    known: list[str],
    other_remedy: str = "",
    *,
    quiet: bool = False,
) -> Path:
    """The snapshot from the network; `known` are the names to offer for one the hub lacks."""
    if not is_installed(_HUB):
        told = missing(_HUB, "climb", "The Hugging Face hub")
        raise UnknownNameError("model", name, known, f"{told.message} {told.remedy}")
    _refuse_network(name, other_remedy)
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
    if not quiet:
        say(f"topout: fetching {repository} from the Hugging Face Hub")
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


def _refuse_network(name: str, other_remedy: str) -> None:
    """Raise InputError where the network is forbidden, or the user has not named the model."""
    forbidding = [each for each in _OFFLINE if os.environ.get(each, "").lower() not in _NO]
    if forbidding:
        raise InputError(
            f"{name!r} is not on this machine, and {forbidding[0]} forbids to fetch it.",
            f"Unset {forbidding[0]}, or give a folder that holds the model{other_remedy}.",
        )
    file = _only_stated_by.get()
    if file is not None:
        raise InputError(
            f"{name!r} is not on this machine, and that {file} names it does not make it fetched.",
            f"If you trust it, fetch it first: hf download {hub_id(name)}",
        )


def _unreachable(name: str, other_remedy: str) -> TopoutError:
    return InputError(
        f"{name!r} is not on this machine, and the Hugging Face Hub cannot be reached.",
        f"Give a folder that holds the model{other_remedy}.",
    )
