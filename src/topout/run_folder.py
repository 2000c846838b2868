"""The folder of one run of a verb: its record, its page, logs and scratch files."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Self

from topout.errors import InputError, OutputError, writing
from topout.home_folder import expanded
from topout.measure.process import Closing
from topout.records.record import Record, write
from topout.whole_file import whole_file

RUN_FILE = "run.json"
REPORT_FILE = "report.html"
HOME_VARIABLE = "TOPOUT_HOME"
_MOST_IN_A_SECOND = 100


class RunFolder(Closing):
    """`run.json` (the record so far), `report.html`, `logs/`, `scratch/`.

    Use it in a `with` block, or close it at the end of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.scratch = path / "scratch"

    @classmethod
    def create(cls, verb: str, subject: str) -> Self:
        """A new folder under $TOPOUT_HOME, or `topout-runs` here; raises OutputError."""
        home = expanded(os.environ.get(HOME_VARIABLE) or "topout-runs")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-.")[-60:] or "unnamed"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(_MOST_IN_A_SECOND):
            suffix = f"-{attempt}" if attempt else ""
            folder = cls(home / f"{stamp}-{verb}-{name}{suffix}")
            try:
                folder.path.mkdir(parents=True, exist_ok=False)
            except FileExistsError:
                continue
            except OSError as error:
                raise _not_created(folder.path, error) from None
            folder.prepare()
            return folder
        raise OutputError(f"cannot create a run folder in {home}.", "Try again.")

    def prepare(self) -> None:
        """Make the folders that a run writes into; raises OutputError."""
        for folder in (self.logs, self.scratch):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise _not_created(folder, error) from None

    def refuse_links(self) -> None:
        """Raise InputError where a link lies in the folder, which may be anybody's."""
        for folder in (self.path, self.logs, self.scratch):
            for entry in sorted(folder.glob("*")):
                if entry.is_symlink():
                    raise InputError(
                        f"{entry} is a link, and a run would write to what it leads to.",
                        "Put the file itself there, or remove it.",
                    )

    def save(self, record: Record) -> None:
        """Write the record so far; raises OutputError."""
        write(record, self.path / RUN_FILE)

    def save_report(self, page: str) -> Path:
        """Write the page and return its path; raises OutputError."""
        path = self.path / REPORT_FILE
        with writing(path), whole_file(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
        return path

    def close(self) -> None:
        """Remove the scratch files, and a folder in which nothing was recorded or logged."""
        self.clean()
        self.discard_if_empty()

    def discard_if_empty(self) -> None:
        """Remove a folder in which nothing was recorded or logged; others stay."""
        has_logs = any(file.stat().st_size for file in self.logs.glob("*"))
        if not has_logs and not (self.path / RUN_FILE).exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(self.path)

    def clean(self) -> None:
        """Remove what only a run in progress needs."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.scratch)


class Interrupted(KeyboardInterrupt):
    """A verb was interrupted: what was finished is in `record`, None for nothing, and `folder`.

    `remedy` says how to go on.
    """

    def __init__(self, record: Record | None, folder: RunFolder | None, remedy: str = "") -> None:
        self.record = record
        self.folder = folder
        self.remedy = remedy
        super().__init__()


def _not_created(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot create {folder}: {error.strerror}.",
        f"Set {HOME_VARIABLE} to a folder that can be written.",
    )
