"""A captured trace for other viewers: Perfetto and Chrome, and TensorBoard's profiler plugin."""

import gzip
import os
import re
import shutil
import socket
import time
from pathlib import Path

from topout.errors import OutputError

TRACE_FILE = "trace.json.gz"
_TENSORBOARD_ENDING = ".pt.trace.json.gz"  # by which the plugin knows its files


def export_perfetto(trace: Path, target: Path) -> Path:
    """Copy a gzipped trace to `target`, unpacked where that does not end in .gz.

    Raises OutputError when it cannot be written.
    """
    try:
        if target.suffix == ".gz":
            shutil.copyfile(trace, target)
        else:
            with gzip.open(trace, "rb") as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
    except OSError as error:
        raise _not_written(target, error) from None
    return target


def export_tensorboard(trace: Path, folder: Path, worker: str | None = None) -> Path:
    """Copy a gzipped trace into a TensorBoard log folder under the name of its `worker`.

    By default that is host and process. Raises OutputError when it cannot be written.
    """
    name = worker or f"{socket.gethostname()}_{os.getpid()}"
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name)  # a dot would end the worker's name
    target = folder / f"{safe}.{time.time_ns()}{_TENSORBOARD_ENDING}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trace, target)
    except OSError as error:
        raise _not_written(target, error) from None
    return target


def _not_written(target: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {target}: {error.strerror}.", "Choose another place for the trace."
    )
