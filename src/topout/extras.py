"""Packages that only some verbs need: which extra brings one, and what is said where it is not."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Literal

from topout.errors import MissingExtraError

Extra = Literal["climb", "train"]

EXTRAS: Mapping[Extra, Sequence[str]] = {
    "climb": ("torch", "transformers", "tokenizers", "huggingface_hub"),
    "train": ("torch", "tokenizers"),
}
"""The packages of each extra of `pip install 'topout[…]'`, by the names that import them."""

_SPOKEN = {"torch": "PyTorch"}


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def has_extra(extra: Extra) -> bool:
    """Whether all packages of an extra can be found."""
    return all(is_installed(package) for package in EXTRAS[extra])


def require(extra: Extra, what: str) -> None:
    """Raise MissingExtraError for the first package of the extra that `what` would miss."""
    for package in EXTRAS[extra]:
        if not is_installed(package):
            raise missing(package, extra, what)


def missing(package: str, extra: Extra, what: str) -> MissingExtraError:
    """The error for a package that is not there and that `what`, such as a verb, needs."""
    return MissingExtraError(
        f"{what} needs {_SPOKEN.get(package, package)}.",
        f"Install it with: pip install 'topout[{extra}]'",
    )


def missing_of(error: ModuleNotFoundError, what: str) -> MissingExtraError | None:
    """The same for an import that failed, and None where the module is no package of an extra."""
    package = (error.name or "").partition(".")[0]
    extra = next((each for each, packages in EXTRAS.items() if package in packages), None)
    return None if extra is None else missing(package, extra, what)
