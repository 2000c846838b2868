"""Native sources and a driver built with sanitizers, and run."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from topout.kernels.build import find_compiler, target_flags

SANITIZERS = ["address,undefined", "thread"]


def check_sanitized(sources: Sequence[Path], sanitizer: str, folder: Path) -> None:
    """The program of `sources` says that all is right and its sanitizer finds nothing.

    Skips where the sanitizer's runtime is missing or cannot run.
    """
    program = folder / "driver"
    command = [
        *find_compiler().command,
        "-std=c++17",
        "-O1",
        "-g",
        *target_flags(),
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-fsanitize={sanitizer}",
        "-fno-sanitize-recover=all",
        *map(str, sources),
        "-o",
        str(program),
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0 and re.search(r"cannot find .*san|lib\w*san", built.stderr):
        pytest.skip(f"the runtime of -fsanitize={sanitizer} is not installed")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=1200)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer does not run under this kernel's address layout")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "all right\n"
