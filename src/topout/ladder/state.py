"""A climb as far as it has come: its record, and the folder that it can be resumed from."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from topout.errors import InputError, OutputError, RecordError, writing
from topout.generation.placement import prediction_error
from topout.input_file import MOST_CONFIG_BYTES, read_input
from topout.ladder.findings import climb_ceiling_doubts, climb_findings
from topout.ladder.request import ClimbRequest
from topout.measure.stats import drift_doubt, estimate
from topout.records import Climb, Doubt, RungResult, read
from topout.records.record import encode_plain, parse
from topout.roofline import ABOVE_A_CEILING
from topout.run_folder import RUN_FILE, RunFolder
from topout.whole_file import whole_file

REQUEST_FILE = "request.json"


class ClimbFolder(RunFolder):
    """A run folder with `request.json` beside the record."""

    def save_request(self, request: ClimbRequest) -> None:
        """Remember the request, so that the climb can be resumed."""
        text = msgspec.json.format(encode_plain(request), indent=1) + b"\n"
        path = self.path / REQUEST_FILE
        with writing(path), whole_file(path) as unfinished:
            unfinished.write_bytes(text)

    def load_request(self) -> ClimbRequest:
        """The request of an earlier climb; raises InputError or RecordError."""
        path = self.path / REQUEST_FILE
        try:
            return msgspec.convert(
                parse(read_input(path, MOST_CONFIG_BYTES), str(path)), ClimbRequest
            )
        except OSError as error:
            raise InputError(
                f"{self.path} is no folder of a climb: {error.strerror} ({REQUEST_FILE}).",
                "Give the folder of an earlier climb.",
            ) from None
        except msgspec.ValidationError as error:
            raise RecordError(f"{path} is damaged ({error}).", "Climb anew.") from None

    def load(self) -> Climb | None:
        """The record of an earlier climb; None before its first rung was finished."""
        if not (self.path / RUN_FILE).exists():
            return None
        return read(self.path / RUN_FILE, Climb)


class ClimbState:
    """The record of a climb under way; `write_error` where it could not be written."""

    def __init__(self, record: Climb, folder: ClimbFolder) -> None:
        self.record = record
        self.folder = folder
        self.write_error: OutputError | None = None
        self._began = time.monotonic() - record.elapsed_s

    def elapsed_s(self) -> float:
        """Seconds since the climb began, those before an interruption included."""
        return time.monotonic() - self._began

    def result_of(self, name: str) -> RungResult | None:
        """The result of a rung that is finished."""
        return next((each for each in self.record.rungs if each.name == name), None)

    def update(self, **changes: Any) -> None:
        """Change fields of the record."""
        self.record = msgspec.structs.replace(self.record, **changes)

    def add_reason(self, field: str, reason: str) -> None:
        """Say why a field is absent."""
        self.update(reasons={**self.record.reasons, field: reason})

    def add_doubt(self, doubt: Doubt) -> None:
        """Note a doubt about the climb."""
        self.update(doubts=[*self.record.doubts, doubt])

    def add(self, result: RungResult, baseline: RungResult | None = None) -> None:
        """Add a finished rung; `baseline` is that rung's result with what has come to it."""
        rungs = [*self.record.rungs, result]
        if baseline is not None:
            rungs[0] = baseline
        errors = [
            prediction_error(each.prediction, each.samples)
            for each in rungs
            if each.status == "kept" and each.prediction is not None and each.samples
        ]
        error = estimate(errors).median if errors else None
        self.update(rungs=rungs, prediction_error=error)

    def finish(self) -> None:
        """Nothing is left to be measured."""
        self.update(finished=True, findings=climb_findings(self.record))

    def save(self, bandwidths: Sequence[float]) -> None:
        """Write the record; a disk that is full ends no climb."""
        drift = drift_doubt(bandwidths)
        doubts = [
            each
            for each in self.record.doubts
            if "drifted" not in each.sentence and each.about != ABOVE_A_CEILING
        ]
        doubts += [drift] if drift is not None else []
        doubts += climb_ceiling_doubts(self.record)
        self.update(elapsed_s=self.elapsed_s(), doubts=doubts)
        try:
            self.folder.save(self.record)
        except OutputError as error:
            self.write_error = error  # the caller says so at the end
