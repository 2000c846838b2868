"""A process that runs cases one after the other and tells of each, a line of JSON at a time.

    python -m tests.fuzz.worker FIRST LAST STEP [MODULE:TARGETS]

Before a case {"begins": 17}, behind it {"number": 17, "peak_bytes": …, "fault": …}. What watches it
ends the process when a case takes too long, and begins another behind it.
"""

import json
import logging
import re
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.cases import case_of, targets_of
from tests.fuzz.target import Target
from topout.errors import TopoutError
from topout.measure.process import begin_peak, peak_rss_bytes
from topout.visible_text import one_line

MOST_ADDRESSES_BYTES = 24 << 30  # what runs away meets an end before the machine does
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def main(first: int, last: int, step: int, where: str = "") -> None:
    """Run the cases; the targets are those of `tests.fuzz.targets`, or of another module."""
    targets = targets_of(where)
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


def run(number: int, targets: Sequence[Target], folder: Path) -> dict[str, Any]:
    """What became of a case."""
    case = case_of(number, targets)
    case.write(folder)
    begin_peak()
    before = peak_rss_bytes()
    fault = said = message = ""
    try:
        text = case.target.ask(folder)
        message = next(iter(_CONTROL.findall(text)), "")
    except TopoutError as error:
        message = next(iter(_CONTROL.findall(one_line(str(error)))), "")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        fault, said = _place_of(error), str(error)[:200]
    peak = peak_rss_bytes() - before
    shutil.rmtree(folder, ignore_errors=True)
    what = f"{case.what}: {said}" if said else case.what
    told = {"number": number, "what": what, "peak_bytes": peak, "fault": fault}
    return told | ({"control": message} if message else {})


def _place_of(error: BaseException) -> str:
    """The error with the innermost line of the program: "TypeError at trace/readers/read.py:17"."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/topout/" in frame.filename]
    frame = own[-1] if own else frames[-1]
    return f"{type(error).__name__} at {'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
