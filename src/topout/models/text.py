"""Real text to run a model on: held-out modules of the standard library, or a user's file."""

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from topout.errors import InputError
from topout.models.tokenizer import ByteTokenizer, Tokenizer, TrainedTokenizer, load_tokenizer

__all__ = [
    "ByteTokenizer",
    "HeldoutText",
    "TextPiece",
    "Tokenizer",
    "TrainedTokenizer",
    "heldout_text",
    "load_tokenizer",
    "read_text",
]

_HELDOUT_FILE = Path(__file__).parent / "bundled" / "heldout.json"


@dataclass(frozen=True)
class TextPiece:
    """The source of one module."""

    name: str  # path below the standard library's folder
    text: str


@dataclass(frozen=True)
class HeldoutText:
    """Text that the bundled models were not trained on."""

    pieces: tuple[TextPiece, ...]
    missing: tuple[str, ...]  # modules that were looked for and are not readable here

    @property
    def text(self) -> str:
        """All pieces, one after the other."""
        return "\n".join(piece.text for piece in self.pieces)

    @property
    def description(self) -> str:
        """Where the text is from, for a report."""
        names = ", ".join(piece.name for piece in self.pieces)
        return f"held-out standard library modules: {names}"


def heldout_text(minimum_bytes: int) -> HeldoutText:
    """Held-out modules of the running Python, in a fixed order, until `minimum_bytes` are reached.

    All that are readable when they do not reach it. Raises InputError when none is.
    """
    library = Path(sysconfig.get_path("stdlib"))
    pieces: list[TextPiece] = []
    missing: list[str] = []
    found_bytes = 0
    for name in _heldout_modules():
        if found_bytes >= minimum_bytes and pieces:
            break
        try:
            text = (library / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            missing.append(name)
            continue
        if text:
            pieces.append(TextPiece(name, text))
            found_bytes += len(text.encode())
    if not pieces:
        raise InputError(
            f"the standard library's sources are not readable in {library}.",
            "Give a text of your own with --text FILE.",
        )
    return HeldoutText(tuple(pieces), tuple(missing))


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; raises InputError when it is unreadable, empty or not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}.", "Give a text file with --text FILE."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start}).", "Convert it to UTF-8."
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty.", "Give a file with text in it.")
    return text


def _heldout_modules() -> list[str]:
    """Paths below the standard library's folder that the bundled models were not trained on."""
    try:
        modules = json.loads(_HELDOUT_FILE.read_bytes())["modules"]
        if isinstance(modules, list) and all(isinstance(name, str) for name in modules):
            return modules
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{_HELDOUT_FILE} is missing or damaged.",
        "Install topout again, or give a text of your own with --text FILE.",
    )
