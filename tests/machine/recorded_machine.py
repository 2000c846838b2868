"""Recorded machines as folders that look like `/`."""

import shutil
from pathlib import Path

from topout.machine.describe import describe
from topout.records import Machine

RECORDED = Path(__file__).parent / "recorded"


def unfold(name: str, folder: Path) -> Path:
    """A copy of a recording in which `sys.txt` (lines of path:value) has become files."""
    root = folder / name
    shutil.copytree(RECORDED / name, root)
    listing = root / "sys.txt"
    if listing.exists():
        for line in listing.read_text().splitlines():
            path, _, value = line.partition(":")
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
    return root


def describe_recorded(
    name: str, folder: Path, architecture: str = "x86_64", page_bytes: int = 4096
) -> Machine:
    """What `describe` makes of a recording."""
    root = unfold(name, folder)
    lscpu = root / "lscpu.txt"
    return describe(
        root,
        lscpu=lscpu.read_text() if lscpu.exists() else "",
        architecture=architecture,
        page_bytes=page_bytes,
    )
