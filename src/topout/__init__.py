"""Topout: how far a transformer runs below what its hardware allows, why, and the way up.

Every verb of the command line is a function here. The names are listed in `__init__.pyi`; importing
this imports no torch, since each name is looked up when it is first used.
"""

from topout.import_path import leave_current_folder

leave_current_folder()  # before anything is imported from there

import lazy_loader  # noqa: E402

from topout.version import __version__ as __version__  # noqa: E402

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
