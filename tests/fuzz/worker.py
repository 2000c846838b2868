"""A process that runs cases one after the other and tells of each, a line of JSON at a time.

    python -m tests.fuzz.worker FIRST LAST STEP [MODULE:TARGETS]

Before a case {"begins": 17}, behind it {"number": 17, "peak_bytes": …, "fault": …}. What watches it
ends the process when a case takes too long, and begins another behind it.
"""

import importlib
import json
import logging
import re
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.cases import case_of
from tests.fuzz.targets import TARGETS
from topout.errors import TopoutError
from topout.measure.process import begin_peak, peak_rss_bytes
from topout.visible_text import one_line

MOST_ADDRESSES_BYTES = 24 << 30  # what runs away meets an end before the machine does
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def main(first: int, last: int, step: int, where: str = "") -> None:
    """Run the cases; the targets are those of `tests.fuzz.targets`, or of another module."""
    targets = TARGETS
    if where:
        module, _, name = where.partition(":")
        targets = getattr(importlib.import_module(module), name)
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES_BYTES, MOST_ADDRESSES_BYTES))
    place = Path(tempfile.mkdtemp(prefix="topout-fuzz-"))
    told = sys.stdout
    sys.stdout = sys.stderr
    try:
        for number in range(first, last, step):
            print(json.dumps({"begins": number}), file=told, flush=True)
            print(json.dumps(run(number, targets, place / str(number))), file=told, flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run(number: int, targets: list, folder: Path) -> dict:  # type: ignore[type-arg]
    """What became of a case."""
    case = case_of(number, targets)
    case.write(folder)
    begin_peak()
    before = peak_rss_bytes()
    fault = message = ""
    try:
        text = case.target.ask(folder)
        message = next(iter(_CONTROL.findall(text)), "")
    except TopoutError as error:
        message = next(iter(_CONTROL.findall(one_line(str(error)))), "")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        fault = _described(error)
    peak = peak_rss_bytes() - before
    shutil.rmtree(folder, ignore_errors=True)
    told = {"number": number, "what": case.what, "peak_bytes": peak, "fault": fault}
    return told | ({"control": message} if message else {})


def _described(error: BaseException) -> str:
    """The error with the innermost line of the program: "TypeError at trace/readers/read.py:17"."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/topout/" in frame.filename]
    frame = own[-1] if own else frames[-1]
    place = frame.filename.rpartition("/topout/")[2]
    return (
        f"{type(error).__name__} at {place}:{frame.lineno} ({str(error).splitlines()[:1]!r:.150})"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
