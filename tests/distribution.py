"""The distribution as users install it: built from a copy, put into an environment of its own."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from tests.conftest import REPOSITORY, SOURCES

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src")
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def package_files() -> set[str]:
    """What belongs into a wheel: every file of the package in the checkout, compiled ones apart."""
    return {
        str(path.relative_to(SOURCES))
        for path in (SOURCES / "topout").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def build(kind: str, folder: Path, out: Path) -> Path:
    """Build the "wheel" or the "sdist" of the sources in `folder`, with what is installed here."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    _run([sys.executable, "-c", code], folder)
    (built,) = out.iterdir()
    return built


def copy_sources(folder: Path) -> Path:
    """A copy of what a distribution is built from: the checkout stays as it is."""
    folder.mkdir()
    for name in BUILT_FROM:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_SKIPPED)
        else:
            shutil.copy(source, folder / name)
    return folder


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel and its requirements, without extras; its `bin`.

    No network: the wheel is installed by pip with `--no-index`, and what it requires, and nothing
    else, is linked from the environment of the tests, found by the wheel's own metadata. So what
    the wheel forgets to require is missing there.
    """
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    flags = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    _run([*pip, "install", *flags, str(wheel)], folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    (metadata,) = packages.glob("topout-*.dist-info")
    required = importlib.metadata.PathDistribution(metadata).requires or []
    for name in _closure(required):
        link_package(name, packages)
    return folder / "bin"


def link_package(name: str, packages: Path) -> None:
    """Link what a distribution of the tests' environment put into its site-packages."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for top in tops:
        if not (packages / top).exists():
            (packages / top).symlink_to(Path(str(distribution.locate_file(top))))


def outside(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds no checkout: no PYTHONPATH, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "TOPOUT_HOME": str(folder / "runs"), "COLUMNS": "100", **more}


def _closure(requirements: list[str]) -> set[str]:
    """The distributions that these requirements ask for, and theirs, without extras."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        marker = requirement.marker
        if requirement.name in found or (marker and not marker.evaluate({"extra": ""})):
            continue
        found.add(requirement.name)
        waiting += importlib.metadata.requires(requirement.name) or []
    return found


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=outside(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
