"""C++ sources to a loaded library: compiled at first use, kept under a key of all it depends on.

Where the compiler has OpenMP, its runtime is the one that PyTorch uses; else kernels do without.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import platform
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from topout.cache_folder import kept_files, open_kept, read_kept, writable_cache_folder
from topout.errors import CompilerError
from topout.programs import child_environment, find_program

_LOGGER = logging.getLogger(__name__)

# By the name of a C function: its result and its arguments.
Abi = Mapping[str, tuple[type | None, Sequence[type]]]
SOURCE_FOLDER = Path(__file__).parent / "src"
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror")
_COMPILERS = ("g++", "c++", "clang++")
_TIMEOUT_S = 300.0
_OPENMP = "-fopenmp"
_MAPS = Path("/proc/self/maps")
_INSTALL = (
    "Install one: `apt install g++` (Debian, Ubuntu), `dnf install gcc-c++` (Fedora), "
    "`xcode-select --install` (macOS); or name one in CXX."
)


class RefusedSourceError(CompilerError):
    """A compiler refused a source; `messages` holds all that it said."""

    def __init__(self, message: str, remedy: str, messages: str) -> None:
        self.messages = messages
        super().__init__(message, remedy)


class Toolchain(NamedTuple):
    """A C++ compiler: the command that starts it and the first line of its version."""

    command: tuple[str, ...]
    path: str
    version: str


@functools.cache
def _toolchain(command: tuple[str, ...], path: str) -> Toolchain | None:
    """The compiler that `command` starts, found at `path`; None when it does not run."""
    try:
        shown = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env=child_environment(),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return Toolchain(command, path, shown.splitlines()[0].strip() if shown.strip() else "unknown")


def find_compiler() -> Toolchain:
    """The compiler that CXX names, else the first of g++, c++ and clang++ that runs.

    Raises CompilerError when there is none.
    """
    named = os.environ.get("CXX", "").strip()
    commands = [tuple(shlex.split(named))] if named else [(name,) for name in _COMPILERS]
    for command in commands:
        path = find_program(command[0])
        if path and (found := _toolchain(command, path)):
            return found
    missing = f"CXX={named!r} does not run" if named else "no C++ compiler is installed"
    raise CompilerError(f"{missing}, and native kernels are compiled at first use.", _INSTALL)


def target_flags() -> tuple[str, ...]:
    """What asks the compiler for every instruction of this very CPU."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64", "i686"):
        return ("-march=native",)
    return ("-mcpu=native",) if machine in ("aarch64", "arm64", "ppc64le") else ()


def cpu_identity(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What decides which instructions this CPU runs: its model and its feature flags.

    From another CPU a library could die of an illegal instruction, and so it is part of the key.
    """
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    telling = re.findall(
        r"^(?:vendor_id|cpu family|model|model name|stepping|flags|Features|CPU implementer"
        r"|CPU part|CPU variant|isa)\s*:.*$",
        text,
        re.MULTILINE,
    )
    return "\n".join(sorted(set(telling)) or [platform.machine()])


def included_files(source: Path, folders: Sequence[Path] = ()) -> list[Path]:
    """`source` and all files that it includes in quotes, directly or not, each once.

    They are looked for beside the file that names them, then in `folders`.
    """
    found: list[Path] = []
    waiting = [source]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.append(file)
        text = file.read_text(errors="replace")
        names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE)
        waiting += [(place / name).resolve() for name in names for place in (file.parent, *folders)]
    return sorted(found)


def build_key(
    sources: Sequence[Path],
    flags: Sequence[str],
    toolchain: Toolchain,
    include_folders: Sequence[Path] = (),
) -> str:
    """The digest of sources, headers, flags, compiler and CPU: another of any, another key."""
    digest = hashlib.sha256()
    parts = [*flags, *toolchain.command, toolchain.version, cpu_identity()]
    for part in parts:
        digest.update(os.fsencode(part) + b"\0")
    for source in sources:
        for file in included_files(source.resolve(), include_folders):
            digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def build_library(
    name: str,
    sources: Sequence[Path],
    extra_flags: Sequence[str] = (),
    target: Sequence[str] | None = None,
    include_folders: Sequence[Path] = (),
) -> Path:
    """The shared library of `sources`, from the cache or compiled now.

    `extra_flags` come after the standard ones; `target` takes the place of `target_flags()`;
    headers are also looked for in `include_folders`. The file's name ends in the digest of its
    content, so a truncated one is noticed and built again, and one rename puts file and digest in
    place together. Raises CompilerError, RefusedSourceError where the source is at fault.
    """
    toolchain = find_compiler()
    includes = [f"-I{folder}" for folder in include_folders]
    flags = (*_FLAGS, *(target_flags() if target is None else target), *includes, *extra_flags)
    stem = f"{name}-{build_key(sources, flags, toolchain, include_folders)}"
    cached = _intact_library(stem)
    if cached is not None:
        _LOGGER.info("%s was compiled before: %s", name, cached)
        return cached
    folder = writable_cache_folder("kernels")
    _LOGGER.info("%s is compiled by %s into %s", name, toolchain.path, folder)
    return _compile(folder, stem, sources, flags, toolchain)


@functools.cache
def links_with(toolchain: Toolchain, flag: str) -> bool:
    """Whether a shared library can be linked with `flag`, such as -fopenmp, here."""
    with tempfile.TemporaryDirectory(prefix="topout-") as scratch:
        source = Path(scratch) / "empty.cpp"
        source.write_text("void nothing() {}\n")
        output = str(Path(scratch) / "empty.so")
        command = [*toolchain.command, flag, "-shared", "-fPIC", str(source), "-o", output]
        return not _run_compiler(command, toolchain)


@functools.cache
def load_library(name: str, *sources: str, extra_flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of the named files of `kernels/src`, loaded once in a process.

    Raises CompilerError when it cannot be built or loaded.
    """
    path = build_library(name, [SOURCE_FOLDER / source for source in sources], extra_flags)
    return _loaded(path)


def _loaded(path: Path) -> ctypes.CDLL:
    try:
        descriptor = open_kept(path)
        try:
            return ctypes.CDLL(_checked_name(descriptor, path))
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise CompilerError(
            f"the compiled kernel {path} cannot be loaded ({error}).",
            "Set TOPOUT_CACHE to a folder of your own on a file system that allows execution.",
        ) from None


def _checked_name(descriptor: int, path: Path) -> str:
    """By what to load a library so that it is the file that was opened; raises OSError for another.

    The descriptor has to stay open: the system tells libraries apart by the names that they were
    loaded by, and would take another one of the same number for this. A system without such names
    loads by the path, in whose folders only this user and root can write.
    """
    with open(descriptor, "rb", closefd=False) as opened:
        if _digest(opened.read()) != _stated_digest(path):
            raise OSError("it is damaged")
    name = Path(f"/proc/self/fd/{descriptor}")
    return str(name if name.exists() else path)


def declare(library: ctypes.CDLL, functions: Abi) -> ctypes.CDLL:
    """The library with the types of its functions stated, so that wrong arguments are refused."""
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _stated_digest(library: Path) -> str:
    """That of its content, by its name."""
    return library.stem.rpartition("-")[2]


def _intact_library(stem: str) -> Path | None:
    """The kept library `stem` whose content is what its name says; others are removed."""
    for file in kept_files("kernels", f"{stem}-*.so"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove
            if _digest(read_kept(file)) == _stated_digest(file):
                return file
            file.unlink(missing_ok=True)
    return None


def _compile(
    folder: Path, stem: str, sources: Sequence[Path], flags: Sequence[str], toolchain: Toolchain
) -> Path:
    """Compile into a private file and rename it: two processes at once both end well."""
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as scratch:
        output = Path(scratch) / "library.so"
        command = [*toolchain.command, *flags, *map(str, sources), "-o", str(output)]
        errors = _run_compiler(command, toolchain)
        if "[-Werror" in errors:
            # A newer compiler may know warnings that ours did not: they must not stop a user.
            errors = _run_compiler([*command, "-Wno-error"], toolchain)
        if errors or not output.is_file():
            raise RefusedSourceError(
                f"{toolchain.path} refused the kernel {stem}: {first_error(errors)}",
                f"It is {toolchain.version}; name another compiler in CXX.",
                errors,
            )
        output.chmod(0o700)  # whatever the umask says: what others can write is not loaded
        library = folder / f"{stem}-{_digest(output.read_bytes())}.so"
        output.replace(library)
    return library


def _run_compiler(command: Sequence[str], toolchain: Toolchain) -> str:
    """What the compiler says when it fails; empty when it succeeds."""
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=child_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{toolchain.path} did not finish: {error}.", _INSTALL) from None
    return (finished.stderr or "it failed.") if finished.returncode else ""


def first_error(messages: str) -> str:
    """The first line that is an error, else the first line."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return [*errors, *lines, "it said nothing."][0]


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
        path = build_library(
            name, [source], (_OPENMP, *extra_flags), include_folders=include_folders
        )
        return OpenmpBuild(path, True)
    except RefusedSourceError:
        toolchain = find_compiler()
        if links_with(toolchain, _OPENMP):
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
    return _loaded(build.path)


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
