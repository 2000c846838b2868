"""Other programs: how they are found and started, so that none comes out of the current folder."""

import os
import shutil
import sys
from collections.abc import Mapping

from topout.cache_folder import child_variables
from topout.import_path import without_current_folder


def find_program(name: str) -> str | None:
    """Where a program lies, by the absolute entries of PATH; None without.

    A name with a folder in it is taken as it is: it was given on purpose.
    """
    return shutil.which(name, path=child_environment().get("PATH", os.defpath))


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program that is started finds in its environment: this process's, and `more`."""
    return without_current_folder({**os.environ, **child_variables(), **(more or {})})


def python_command(module: str, *arguments: object) -> list[str]:
    """The command that runs a module in a new Python, without the current folder on its path."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]
