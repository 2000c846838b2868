"""The folder of one climb, which can be resumed from it."""

import msgspec

from topout.errors import InputError, OutputError, RecordError
from topout.ladder.request import ClimbRequest
from topout.records import Climb, read
from topout.run_folder import HOME_VARIABLE, RUN_FILE, RunFolder

REQUEST_FILE = "request.json"


class ClimbFolder(RunFolder):
    """A run folder with `request.json` beside the record."""

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

    def load(self) -> Climb | None:
        """The record of an earlier climb; None before its first rung was finished."""
        if not (self.path / RUN_FILE).exists():
            return None
        return read(self.path / RUN_FILE, Climb)
