"""Reading /proc and /sys under any root, so that a recorded machine is read like this one."""

from collections.abc import Iterator
from pathlib import Path

from topout.errors import InputError

_MOST_CPUS = 1 << 16  # more is a misread file, and would fill the memory


class SystemFiles:
    """The files of a machine below `root`; what is missing or unreadable is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """The content of a file, without the final newline."""
        try:
            return (self.root / path).read_text(errors="replace").strip("\n")
        except (OSError, ValueError):
            return None

    def number(self, path: str) -> int | None:
        """The content of a file that holds one whole number."""
        text = self.text(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    def matches(self, folder: str, pattern: str) -> Iterator[str]:
        """Paths below the root of what in `folder` matches `pattern`, in order."""
        try:
            found = sorted((self.root / folder).glob(pattern))
        except OSError:
            return
        yield from (str(path.relative_to(self.root)) for path in found)


def parse_cpu_list(text: str) -> list[int]:
    """CPU numbers of a kernel list such as "0-3,8,10-11", ascending, each once.

    Raises InputError when the text is no such list.
    """
    cpus: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.strip().split(","))):
        first, dash, last = part.partition("-")
        if not (_is_number(first) and (not dash or _is_number(last))):
            raise InputError(f"{text[:80]!r} is not a CPU list.", 'Write it as in "0-3,8".')
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high > _MOST_CPUS:
            raise InputError(f"{text[:80]!r} is not a CPU list.", 'Write it as in "0-3,8".')
        cpus.update(range(low, high + 1))
    return sorted(cpus)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
