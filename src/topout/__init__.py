"""Topout: how far a transformer runs below what its hardware allows, why, and the way up.

Every verb of the command line is a function here. The names are listed in `__init__.pyi`; importing
this imports no torch, since each name is looked up when it is first used.
"""

from topout.import_path import leave_current_folder

leave_current_folder()  # before anything is imported from there

from typing import Any  # noqa: E402

import lazy_loader  # noqa: E402

from topout.version import __version__ as __version__  # noqa: E402

_look_up, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """A name when it is first used; raises MissingExtraError where a package is not installed."""
    try:
        return _look_up(name)
    except ModuleNotFoundError as error:
        from topout.extras import missing_of

        missing = missing_of(error, f"topout.{name}")
        if missing is None:
            raise
        raise missing from None
