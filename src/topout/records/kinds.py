"""The kinds of records that files hold: how one is read by its own kind, and each kind's schema."""

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, overload

import msgspec

from topout.errors import RecordError
from topout.records.record import (
    DIGEST,
    SCHEMA_VERSION,
    R,
    Record,
    check_version,
    decode,
    parse,
    read_bytes,
)

KINDS: Mapping[str, str] = {
    "climb": "climb:Climb",
    "climb-forecast": "forecast:ClimbForecast",
    "cost": "cost:CostReport",
    "count": "count:Count",
    "count_check": "count:CountCheck",
    "example": "example:ExampleReport",
    "gemm": "gemm:GemmReport",
    "generate": "generate:GenerateReport",
    "hardware": "machine:Hardware",
    "layers": "layers:LayersReport",
    "machine": "machine:MachineReport",
    "profile": "profile:ProfileReport",
    "rates": "machine:Rates",
    "run": "climb:RunReport",
    "trace": "trace:TraceReport",
    "trace-diff": "trace:TraceDiff",
    "trace-runs": "trace:TraceRuns",
    "train": "train:TrainReport",
}
"""By the `kind` that a file states: the module here and the class."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def class_of(kind: str) -> type[Record]:
    """The class of a kind of `KINDS`."""
    module, _, name = KINDS[kind].partition(":")
    found: type[Record] = getattr(importlib.import_module(f"topout.records.{module}"), name)
    return found


@overload
def read(path: Path | str, record_type: type[R]) -> R: ...
@overload
def read(path: Path | str, record_type: None = None) -> Record: ...
def read(path: Path | str, record_type: type[Record] | None = None) -> Record:
    """Read a record from a file: of the given class, else of the kind that the file states.

    Raises RecordError that names the file and the field, and a kind or a version that this topout
    does not know.
    """
    data, source = read_bytes(Path(path)), str(path)
    if record_type is not None:
        return decode(data, record_type, source)
    return decode(data, class_of(_kind_of(parse(data, source), source)), source)


def _kind_of(raw: Any, source: str) -> str:
    """The kind that JSON states; a newer version is refused first, since its kinds may be new."""
    check_version(raw, source)
    stated = raw.get("kind")
    if isinstance(stated, str) and stated in KINDS:
        return stated
    near = difflib.get_close_matches(str(stated), KINDS, n=1)
    raise RecordError(
        f"{source} is of kind {stated!r}, which this topout does not know.",
        f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(KINDS)}.",
    )


def schema(kind: str | None = None) -> dict[str, Any]:
    """The JSON schema of the records of a kind of `KINDS`, or of all; draft 2020-12.

    Each field has its type; descriptions are the docstrings of the records. Raises RecordError for
    a kind that there is none of.
    """
    if kind is not None and kind not in KINDS:
        raise RecordError(f"there is no kind {kind!r}.", f"Known are {', '.join(KINDS)}.")
    types = [class_of(each) for each in KINDS] if kind is None else [class_of(kind)]
    found = msgspec.json.schema(Union[tuple(types)])  # noqa: UP007 - of a tuple made here
    for each in types:
        _state_envelope(found["$defs"][each.__name__], each.seals)
    return {"$schema": _DIALECT, "title": f"Topout: {kind or 'any record'}", **found}


def _state_envelope(definition: dict[str, Any], seals: bool) -> None:
    """The version is this one and must be there, as `decode` demands; a digest may be."""
    if seals:
        definition["properties"][DIGEST] = {
            "type": "string",
            "description": "SHA-256 of the other fields when the file was written.",
        }
    definition["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    definition["required"] = sorted({*definition["required"], "schema_version"})
