"""What all records share: base, words, figures with their spread, doubts, and versioned JSON."""

import hashlib
import importlib
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, TypeVar

import msgspec

from topout.errors import InputError, RecordError, writing
from topout.input_file import MOST_RECORD_BYTES, parse_json, read_input
from topout.version import __version__
from topout.visible_text import as_text, escaped_json
from topout.whole_file import whole_file

if TYPE_CHECKING:
    import polars

SCHEMA_VERSION = 1
DIGEST = "digest"  # the field of a file, beside those of its record
_LOGGER = logging.getLogger(__name__)

Dtype = Literal["fp32", "bf16", "fp16", "int8"]
Bound = Literal["memory", "compute", "overhead"]
OutputClass = Literal["exact", "near", "sampled"]
Status = Literal["kept", "rejected", "skipped", "failed"]
Verdict = Literal["faster", "slower", "no difference", "not proven"]
WeightsOrigin = Literal["trained", "random"]


class Stamp(TypedDict):
    """The fields that say which topout wrote a record, and when."""

    topout_version: str
    created_at: str


def stamp() -> Stamp:
    """This version and this moment (UTC), for a record that is begun."""
    return {"topout_version": __version__, "created_at": utc_now()}


def utc_now() -> str:
    """This moment as ISO 8601 in UTC, to the second."""
    import datetime

    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, slotted, strict about the fields that it decodes.

    In a notebook a record shows its report, which is imported by name when it is asked for: the
    report stands above the records.
    """

    seals: ClassVar[bool] = True  # whether its file has a digest, which tells that it was edited

    def to_frame(self) -> "polars.DataFrame":
        """The main table, a row a rung, an op, a kernel: raw figures, the units in their names.

        Raises InputError where the record has no table.
        """
        frame: polars.DataFrame = importlib.import_module("topout.report.main_table").to_frame(self)
        return frame

    def __repr__(self) -> str:
        """The class and the first words and figures that it holds; "…" where that is not all."""
        fields = [name for name in self.__struct_fields__ if name not in _OF_THE_FILE]
        named = [(name, getattr(self, name)) for name in fields]
        held = [(name, value) for name, value in named if value not in (None, [], {})]
        plain = [(name, getattr(value, "name", value)) for name, value in held]
        short = [(name, value) for name, value in plain if isinstance(value, _PLAIN)]
        words = [f"{name}={_cut(value)}" for name, value in short[:_MOST_SHOWN]]
        words += ["…"] if len(words) < len(held) else []
        return f"{type(self).__name__}({', '.join(words)})"

    def _repr_html_(self) -> str | None:
        return _in_notebook(self, "fragment")

    def _repr_markdown_(self) -> str | None:
        return _in_notebook(self, "markdown")


_OF_THE_FILE = ("schema_version", "topout_version")
_PLAIN = (bool, int, float, str)
_MOST_SHOWN = 8  # fields of a record
_MOST_CHARACTERS = 60  # of one of them


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _in_notebook(record: Record, form: str) -> str | None:
    shown: str | None = importlib.import_module("topout.report").in_notebook(record, form)
    return shown


R = TypeVar("R", bound=Record)


def encode(record: Record, *, sealed: bool = False) -> bytes:
    """`record` as indented JSON with a final newline; `sealed`: with the digest of its content.

    What a terminal would obey stands as an escape, and a byte that is no UTF-8 as `\\xff`. Raises
    ValueError that names the field for an infinite figure or one that is not a number: JSON has
    neither, and what took their place could not be read back.
    """
    plain = msgspec.to_builtins(record)
    _refuse_non_finite(plain, type(record).__name__)
    text = encode_plain(plain)
    if sealed and isinstance(record, Record) and record.seals:
        content = msgspec.json.decode(text)
        text = msgspec.json.encode({**content, DIGEST: digest_of(content)})
    return f"{escaped_json(msgspec.json.format(text, indent=1).decode())}\n".encode()


def digest_of(content: dict[str, Any]) -> str:
    """SHA-256 of what a record's JSON says; the order of keys and white space do not count.

    It shows an edit by hand or by accident, and proves nothing of who wrote a record: whoever edits
    one can write its digest anew.
    """
    return f"sha256:{hashlib.sha256(msgspec.json.encode(content, order='sorted')).hexdigest()}"


def encode_plain(value: Any) -> bytes:
    """JSON of plain values or a record, a byte in them that is no UTF-8 spelled `\\xff`."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(as_text(msgspec.to_builtins(value)))


def encode_exactly(value: Any) -> bytes:
    """JSON for another process, paths included.

    Raises InputError for a name whose bytes are no UTF-8: JSON cannot carry it.
    """
    try:
        return msgspec.json.encode(value, enc_hook=os.fspath)
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r} is not UTF-8.", "Give it another name.") from None


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}")
    if isinstance(value, dict):
        for key, part in value.items():
            _refuse_non_finite(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _refuse_non_finite(part, f"{path}[{index}]")


def decode(data: bytes | str, record_type: type[R], source: str = "input") -> R:
    """JSON → record, strictly.

    Raises RecordError that names `source` and the field when `data` is not JSON, is of another
    schema version or kind, or has a missing, unknown or wrongly typed field.
    """
    raw = parse(data, source)
    _check_envelope(raw, record_type, source)
    seal = raw.pop(DIGEST, None) if record_type.seals and isinstance(raw, dict) else None
    try:
        record = msgspec.convert(raw, record_type)
    except msgspec.ValidationError as error:
        raise RecordError(
            f"{source} does not hold a valid record: {error}.", "Write it again with this version."
        ) from None
    return record if seal in (None, digest_of(raw)) else _doubted(record, source)


def _doubted(record: R, source: str) -> R:
    """A record whose content is not what its digest was made of."""
    doubts = getattr(record, "doubts", None)
    if doubts is None:
        _LOGGER.warning("%s was edited since it was written", source)
        return record
    edited = Doubt(
        about="record",
        sentence="The record was edited since it was written: its figures may not be those that "
        "were measured.",
        remedy="Take the record as it was written, or measure again.",
    )
    return record if edited in doubts else msgspec.structs.replace(record, doubts=[*doubts, edited])


def parse(data: bytes | str, source: str) -> Any:
    """What JSON holds; raises RecordError that names `source`, and a key that stands twice."""
    try:
        found = msgspec.json.decode(data)  # strict about text and numbers
        return parse_json(data) if isinstance(found, dict | list) else found
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{source} is not valid JSON ({error}).", "Give a file topout wrote."
        ) from None


def check_version(raw: Any, source: str) -> None:
    """Raise RecordError where what JSON holds states no schema version, or another than ours."""
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise RecordError(
            f"{source} has no field `schema_version`.", "Give a JSON file that topout wrote."
        )
    version = raw["schema_version"]
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{source} has schema_version {version!r}, and this topout reads {SCHEMA_VERSION}.",
            "Read it with the topout that wrote it, or run again.",
        )


def _check_envelope(raw: Any, record_type: type[Record], source: str) -> None:
    """Raise RecordError when `raw` is of another schema version or kind than `record_type`."""
    if "schema_version" not in record_type.__struct_fields__:
        return
    check_version(raw, source)
    kind = record_type.__struct_config__.tag
    if raw.get("kind") != kind:
        raise RecordError(
            f"{source} is of kind {raw.get('kind')!r}, not {kind!r}.", "Give the other file."
        )


def write(record: Record, path: Path) -> None:
    """Write `record` to `path`: a reader sees the old file or the new one, never a half.

    Raises OutputError when the folder is read-only, missing or full.
    """
    with writing(path), whole_file(path) as unfinished:
        unfinished.write_bytes(encode(record, sealed=True))


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises RecordError that names it."""
    try:
        return read_input(path, MOST_RECORD_BYTES)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}.", "Check the path.") from None


class Estimate(Record, frozen=True, kw_only=True):
    """A figure with its spread: median and the bounds of its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


class Interval(Record, frozen=True, kw_only=True):
    """The range in which a figure lies, or is expected to lie."""

    low: float
    high: float


class PairedRatio(Record, frozen=True, kw_only=True):
    """Rival's time over candidate's time, pair by pair; above 1 the candidate is faster.

    The interval is that of the test that gives the verdict (`topout.measure.speed_test`). Records
    of earlier versions have neither verdict nor error: their interval is a 95 % bootstrap one.
    """

    median: float
    low: float
    high: float
    pairs: list[float]
    verdict: Verdict | None = None
    error: float | None = None  # chance that an interval of the duel misses, over all its looks
    pairs_to_decide: int | None = None  # about how many would, where it is not proven


class Doubt(Record, frozen=True, kw_only=True):
    """A reason to trust a figure less, in a sentence, with what would remove it."""

    about: str
    sentence: str
    remedy: str
