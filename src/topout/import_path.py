"""Where code is found: never in the current folder, unless the user's command line names it.

`python -m topout` puts the current folder first among the places that modules are imported from,
and an empty entry of a search path stands for that folder too. Whatever lies there, such as a
`json.py` that came with somebody's model, would run. Only `os` and `sys` are imported here, which
Python has loaded by then: this goes before anything else.
"""

import os
import sys

TYPE_CHECKING = False  # typing is not imported yet
if TYPE_CHECKING:
    from typing import Any

_PACKAGE = "topout"
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_PYTHONPATH = "PYTHONPATH"  # its entries are code that was named on purpose, where they are not ""
# Where programs, libraries and headers are looked for: only absolute entries count.
_SEARCH_PATHS = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "COMPILER_PATH", "LIBRARY_PATH"),
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"),
)


def leave_current_folder() -> None:
    """Where this process is the program topout, take the current folder off all search paths.

    It stays where PYTHONPATH names it. A process that only imports the package keeps its paths.
    """
    if not _is_program():
        return
    here, named = _current_folder(), os.environ.get(_PYTHONPATH, "")
    if sys.argv[0] == "-m" and not sys.flags.safe_path and here in sys.path:
        sys.path.remove(here)
    is_library = here == os.path.dirname(os.__file__)  # noqa: PTH120 - of Python itself
    if named and "" in named.split(os.pathsep) and here in sys.path and not is_library:
        sys.path.remove(here)
    if _ROOT not in sys.path:  # the package lies in the current folder
        sys.path.append(_ROOT)
    cleaned = without_current_folder(dict(os.environ))
    for name in os.environ.keys() - cleaned.keys():
        del os.environ[name]
    os.environ.update(cleaned)


def without_current_folder(environment: dict[str, str]) -> dict[str, str]:
    """An environment whose search paths do not lead into the current folder, for child processes.

    A variable that names nothing else is left out: to some programs an empty one means the current
    folder as well.
    """
    found = dict(environment)
    for name in (*_SEARCH_PATHS, _PYTHONPATH):
        entries = found.pop(name, "").split(os.pathsep)
        kept = [each for each in entries if each.startswith("/") or (each and name == _PYTHONPATH)]
        if name == _PYTHONPATH and _current_folder() == _ROOT and _ROOT not in kept:
            kept.append(_ROOT)  # children find this package too
        if kept:
            found[name] = os.pathsep.join(kept)
    found["PYTHONSAFEPATH"] = "1"  # of Python: it adds no folder by itself
    return found


def names_own_code(name: str) -> bool:
    """Whether a name is that of a user's own code: "net.py:Net", "package.module:make"."""
    import re

    is_code = re.fullmatch(r"(?:[^:]+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*", name)
    return is_code is not None and not name.startswith("hub:")


def import_own(path: str) -> "Any":
    """What `module:name` or `FILE.py:name` names in code of the user's own.

    For what a user's command line or Python names, never a file that is read: from now on modules
    are found in the current folder too, after all others. Raises whatever the module does.
    """
    import importlib
    import importlib.util

    here = _current_folder()
    if here and here not in sys.path:
        sys.path.append(here)
    module, _, name = path.rpartition(":")
    if not module.endswith(".py"):
        return getattr(importlib.import_module(module), name)
    if not os.path.isfile(module):  # noqa: PTH113
        raise FileNotFoundError(f"there is no file {module}")
    stem = os.path.basename(module).removesuffix(".py")  # noqa: PTH119
    spec = importlib.util.spec_from_file_location(f"own_{stem}", module)
    assert spec is not None and spec.loader is not None  # of a file that ends in .py
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look themselves up there
    spec.loader.exec_module(found)
    return getattr(found, name)


def _is_program() -> bool:
    """Whether Python runs `topout`, `python -m topout` or a module of this package."""
    if not sys.argv or not hasattr(sys, "orig_argv"):
        return False
    if sys.argv[0] == "-m":  # so it reads while Python looks for the module
        module = sys.orig_argv[-len(sys.argv)]
        return module.removeprefix("-m").partition(".")[0] == _PACKAGE
    return os.path.basename(sys.argv[0]) == _PACKAGE  # noqa: PTH119


def _current_folder() -> str:
    """Empty where it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""
