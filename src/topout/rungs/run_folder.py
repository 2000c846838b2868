"""The folder of one climb: its request, its result rung by rung, logs and scratch files."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import msgspec

from topout.errors import InputError, OutputError, RecordError
from topout.records import Climb, read, write
from topout.rungs.request import ClimbRequest

RUN_FILE = "run.json"
REQUEST_FILE = "request.json"
REPORT_FILE = "report.html"
HOME_VARIABLE = "TOPOUT_HOME"


class RunFolder:
    """`run.json` (the record so far), `request.json`, `report.html`, `logs/`, `scratch/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.scratch = path / "scratch"

    @classmethod
    def create(cls, model: str) -> "RunFolder":
        """A new folder under $TOPOUT_HOME, or `topout-runs` here; raises OutputError."""
        home = Path(os.environ.get(HOME_VARIABLE) or "topout-runs")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[-60:] or "model"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(100):
            suffix = f"-{attempt}" if attempt else ""
            folder = cls(home / f"{stamp}-climb-{name}{suffix}")
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

    def save_request(self, request: ClimbRequest) -> None:
        """Remember the request, so that the climb can be resumed."""
        text = msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n"
        try:
            (self.path / REQUEST_FILE).write_bytes(text)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path / REQUEST_FILE}: {error.strerror}.",
                f"Set {HOME_VARIABLE} to a folder with room.",
            ) from None

    def load_request(self) -> ClimbRequest:
        """The request of an earlier climb; raises InputError or RecordError."""
        path = self.path / REQUEST_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=ClimbRequest)
        except OSError as error:
            raise InputError(
                f"cannot resume {self.path}: {error.strerror} ({REQUEST_FILE}).",
                "Give the folder of an earlier climb.",
            ) from None
        except msgspec.DecodeError as error:
            raise RecordError(f"{path} is damaged ({error}).", "Climb anew.") from None

    def save(self, climb: Climb) -> None:
        """Write the record so far; raises OutputError."""
        write(climb, self.path / RUN_FILE)

    def load(self) -> Climb | None:
        """The record of an earlier climb; None before its first rung was finished."""
        if not (self.path / RUN_FILE).exists():
            return None
        return read(self.path / RUN_FILE, Climb)

    def save_report(self, page: str) -> Path:
        """Write the page and return its path; raises OutputError."""
        path = self.path / REPORT_FILE
        try:
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}.", "Choose another place for the output."
            ) from None
        return path

    def discard_if_empty(self) -> None:
        """Remove a folder in which nothing was recorded or logged; others stay."""
        has_logs = self.logs.is_dir() and any(self.logs.iterdir())
        if not has_logs and not (self.path / RUN_FILE).exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(self.path)

    def clean(self) -> None:
        """Remove what only a running climb needs."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.scratch)


def _not_created(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot create {folder}: {error.strerror}.",
        f"Set {HOME_VARIABLE} to a folder that can be written.",
    )
