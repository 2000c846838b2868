"""The user's home folder, where there is one: a container may run under a number without a name."""

import os
from pathlib import Path

NO_HOME = Path("/proc/no-home")
"""Stands for a home that nobody has: nothing lies below it, and nothing can be put there."""


def expanded(path: str) -> Path:
    """The path with its `~` resolved; below `NO_HOME` where HOME is not set and no user is known.

    Never raises, as `Path.expanduser` does, and never means a folder called `~`.
    """
    resolved = os.path.expanduser(path)  # noqa: PTH111 - that of Path raises
    user, _, rest = resolved.partition("/")
    return NO_HOME / rest if user.startswith("~") else Path(resolved)


def ensure_home() -> None:
    """Have libraries that ask for the home while they are imported find one, if only `NO_HOME`."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - that of Path raises
        os.environ["HOME"] = str(NO_HOME)
