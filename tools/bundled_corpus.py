"""The text that the bundled models learn from: the source of Python's own standard library."""

import hashlib
import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# Folders left out, at any depth. Tests repeat themselves; encodings and pydoc_data are generated
# tables; the rest is not the standard library.
EXCLUDED_FOLDERS = frozenset(
    {
        "__phello__",
        "__pycache__",
        "dist-packages",
        "encodings",
        "idle_test",
        "lib-dynload",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
    }
)

# Files that are mostly data tables.
EXCLUDED_FILES = frozenset(
    {
        "html/entities.py",
        "locale.py",
        "msilib/schema.py",
        "msilib/sequence.py",
        "msilib/text.py",
        "stringprep.py",
        "tkinter/constants.py",
    }
)

# Generated when Python is built, with the builder's own paths in it.
EXCLUDED_PREFIXES = ("_sysconfigdata",)

# Packages that later Python versions dropped or rewrote: fine to learn from, useless to hold out.
NEVER_HELD_OUT = frozenset({"distutils", "idlelib", "lib2to3", "turtledemo"})

# Well-known modules of medium size that keep their place from one Python version to the next.
ALWAYS_HELD_OUT = frozenset(
    {
        "csv.py",
        "fractions.py",
        "heapq.py",
        "json/decoder.py",
        "shlex.py",
        "statistics.py",
        "textwrap.py",
    }
)

HELD_OUT_FRACTION = 0.04
SMALLEST_HELD_OUT_BYTES = 4096  # shorter files say too little to measure anything


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents by their path relative to the standard library's folder."""

    training: dict[str, str]
    held_out: dict[str, str]


def standard_library() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def is_excluded(relative: Path) -> bool:
    """Whether a file is left out of the corpus, whatever its content."""
    return (
        not EXCLUDED_FOLDERS.isdisjoint(relative.parts)
        or any(part.startswith("config-") for part in relative.parts[:-1])
        or relative.as_posix() in EXCLUDED_FILES
        or relative.name.startswith(EXCLUDED_PREFIXES)
    )


def is_held_out(path: str, size_bytes: int) -> bool:
    """Whether a file is kept from training; it depends on the name and size alone."""
    if path in ALWAYS_HELD_OUT:
        return True
    if size_bytes < SMALLEST_HELD_OUT_BYTES or path.split("/")[0] in NEVER_HELD_OUT:
        return False
    digest = hashlib.sha256(path.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_FRACTION


def read_corpus(folder: Path) -> Corpus:
    """Read every source file below `folder`, in the order of the names.

    A file that is not UTF-8 is passed over, and so is a copy of a text already seen, so that no
    held-out text can come back under another name.
    """
    held_out: dict[str, str] = {}
    others: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")):
        relative = file.relative_to(folder)
        if is_excluded(relative):
            continue
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if not text.strip():
            continue
        path = relative.as_posix()
        (held_out if is_held_out(path, len(text.encode())) else others)[path] = text
    seen = set(held_out.values())
    training: dict[str, str] = {}
    for path, text in others.items():
        if text not in seen:
            training[path] = text
            seen.add(text)
    return Corpus(training=training, held_out=held_out)


def read_held_out(listing: Path, folder: Path) -> dict[str, str]:
    """The held-out texts that `listing` names and that this Python's library has."""
    modules: list[str] = json.loads(listing.read_text())["modules"]
    files = {name: folder / name for name in modules}
    return {name: file.read_text("utf-8") for name, file in files.items() if file.is_file()}


def corpus_digest(documents: dict[str, str]) -> str:
    """SHA-256 over names and texts, so that two runs can tell whether they saw the same data."""
    digest = hashlib.sha256()
    for path in sorted(documents):
        for part in (path, documents[path]):
            digest.update(part.encode())
            digest.update(b"\0")
    return digest.hexdigest()
