"""Files that are written whole or not at all: a reader sees the old one or the new one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """The place to write to in the `with` block, which becomes `path` at its end.

    After an error nothing is left of it, and `path` is what it was. Raises OSError where the folder
    cannot be written.
    """
    import os
    import tempfile

    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(mode)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
