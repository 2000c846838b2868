"""One OpenMP runtime for PyTorch and our kernels, and kernels without it where there is none."""

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import CompilerError
from topout.kernels.build import (
    RefusedSourceError,
    build_library,
    find_compiler,
    links_with,
)

_FLAG = "-fopenmp"
_MAPS = Path("/proc/self/maps")


class OpenmpBuild(NamedTuple):
    """A compiled library; without OpenMP it runs on one thread, whatever it is asked."""

    path: Path
    openmp: bool


def build_with_openmp(
    name: str,
    source: Path,
    extra_flags: Sequence[str] = (),
    include_folders: Sequence[Path] = (),
) -> OpenmpBuild:
    """Compile a source that shares its work by OpenMP, or take it from the cache; loads nothing.

    Where the compiler has no OpenMP it is built without. Raises CompilerError,
    RefusedSourceError when the source is at fault.
    """
    try:
        path = build_library(name, [source], (_FLAG, *extra_flags), include_folders=include_folders)
        return OpenmpBuild(path, True)
    except RefusedSourceError:
        toolchain = find_compiler()
        if links_with(toolchain, _FLAG):
            raise
    # Its pragmas are comments then, and a warning about each would hide the others.
    quiet = ["-Wno-unknown-pragmas"]
    if "clang" in toolchain.version.lower():
        quiet.append("-Wno-source-uses-openmp")
    path = build_library(name, [source], (*quiet, *extra_flags), include_folders=include_folders)
    return OpenmpBuild(path, False)


def load_openmp_library(build: OpenmpBuild) -> ctypes.CDLL:
    """The library, sharing the OpenMP runtime of this process; raises CompilerError."""
    if build.openmp:
        share_openmp()
    try:
        return ctypes.CDLL(str(build.path))
    except OSError as error:
        raise CompilerError(
            f"the compiled kernel {build.path} cannot be loaded ({error}).",
            "Set TOPOUT_CACHE to a folder on a file system that allows execution.",
        ) from None


def share_openmp() -> None:
    """Load PyTorch's OpenMP runtime, unless this process has one already.

    Two runtimes have two pools of threads, which fight for the cores. PyTorch ships a libgomp of
    its own; its symbols are made visible to all, so that ours resolve to it whatever its name.
    """
    if any("libgomp" in Path(file).name for file in openmp_runtimes()):
        return
    torch = importlib.util.find_spec("torch")  # finds it without importing it
    for place in (torch.submodule_search_locations if torch else None) or []:
        for runtime in sorted(Path(place).glob("lib/libgomp*.so*")):
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
            return


def openmp_runtimes() -> list[str]:
    """Files of the OpenMP runtimes in this process; none where the system does not show them."""
    try:
        lines = _MAPS.read_text(errors="replace").splitlines()
    except OSError:
        return []
    files = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    names = ("libgomp", "libomp", "libiomp")
    return sorted(file for file in files if Path(file).name.startswith(names))
