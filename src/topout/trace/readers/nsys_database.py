"""The database that Nsight Systems exports: its tables as columns, and the machine in them."""

import itertools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from topout.trace.readers.memory_budget import EVENT_BYTES, Hold
from topout.trace.table import Device

_VERSIONS = {"EXPORT_PRODUCT_VERSION": "nsys", "EXPORT_SCHEMA_VERSION": "schema"}
_MOST_VALUE_BYTES = 16 << 20  # of a text or blob
_STEPS_PER_CALL = 100_000  # of SQLite's machine
_STEPS_PER_BYTE = 50
_STEPS_OF_ANY_FILE = 10_000_000
_CHUNK_ROWS = 1 << 16  # what exists as Python objects at any one time
# SQLite keeps any value in any column. Sums of two numbers of this size still fit 64 bits, and a
# device has a number of 32.
_MOST = 1 << 61
_MOST_DEVICE = (1 << 31) - 1
_DEVICES = ("deviceId", "srcDeviceId", "dstDeviceId", "gpuId", "cudaId")
_UNREAD = "values that could not be read"


class Database:
    """An open SQLite file; what could not be read of it is told in `doubts`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, hold: Hold) -> None:
        self.path = path
        self.doubts: list[str] = []
        self._connection = connection
        self._hold = hold
        self._rows = 0
        self._bound(path.stat().st_size)
        # A byte that is no UTF-8 must not cost the table it stands in.
        connection.text_factory = lambda data: data.decode(errors="replace")
        # Without it SQLite refuses a file that was cut off even for the pages that are there;
        # nothing can be written, since the file is open for reading alone.
        connection.execute("PRAGMA writable_schema = ON")
        found = connection.execute(
            # A virtual table is code of an extension; a view may be any statement.
            "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
        )
        self.tables = frozenset(str(name) for (name,) in found)
        self._texts: pl.DataFrame | None = None

    def _bound(self, size_bytes: int) -> None:
        """Take the file as data of bounded cost, whatever its schema and its pages say."""
        self._connection.execute("PRAGMA trusted_schema = OFF")
        self._connection.execute("PRAGMA cell_size_check = ON")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_VALUE_BYTES)
        # Pages that point at each other could give rows without end. A row takes some bytes of the
        # file and some tens of steps to read, so a whole file is read in fewer steps than these.
        most = _STEPS_OF_ANY_FILE + _STEPS_PER_BYTE * size_bytes
        calls = itertools.count(1)
        self._connection.set_progress_handler(
            lambda: next(calls) * _STEPS_PER_CALL > most, _STEPS_PER_CALL
        )

    def read(self, table: str, numbers: Sequence[str], text: str = "") -> pl.DataFrame | None:
        """Columns `numbers` (Int64) and `text` (String) of `table`; None where it is missing.

        A column that the table lacks is null, and so is a value of another type or out of range.
        Rows without a start are left out, and what follows a damaged page is lost; all of that is
        told in `doubts`.
        """
        if table not in self.tables:
            return None
        schema: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(numbers, pl.Int64)
        if text:
            schema[text] = pl.String
        counted = {**schema, _UNREAD: pl.Int64}
        parts = [pl.DataFrame(schema=counted)]
        parts.extend(
            pl.DataFrame(chunk, schema=counted, orient="row")
            for chunk in self._chunks(table, numbers, text)
        )
        rows = pl.concat(parts)
        if unread := int(rows[_UNREAD].sum()):
            self.doubts.append(f"{unread} values of {table} are of another type or out of range")
        rows = rows.drop(_UNREAD)
        if "start" in schema and (missing := rows["start"].null_count()):
            self.doubts.append(f"{missing} rows of {table} without a start were left out")
            rows = rows.drop_nulls("start")
        return rows

    def with_text(self, rows: pl.DataFrame, ids: Sequence[str], name: str) -> pl.DataFrame:
        """`rows` with the text of the first of `ids` that is known, instead of the ids."""
        texts = self._all_texts()
        result: pl.DataFrame = rows
        for number, column in enumerate(ids):
            used = texts.join(rows.select(id=pl.col(column).unique()), on="id", how="semi")
            result = result.join(
                used.select(pl.col("id").alias(column), pl.col("value").alias(f"text{number}")),
                on=column,
                how="left",
                maintain_order="left",
            )
        found = [f"text{number}" for number in range(len(ids))]
        best = pl.coalesce(*found, pl.lit("(name not in the file)")).cast(pl.Categorical)
        return result.with_columns(best.alias(name)).drop(*found, *(set(ids) - {name}))

    def pairs(self, table: str, key: str, value: str) -> dict[str, str]:
        """A small table of names and values; empty where it or a column is missing."""
        if table not in self.tables or not {key, value} <= self._columns(table):
            return {}
        rows = self._connection.execute(f'SELECT "{key}", "{value}" FROM "{table}"')  # noqa: S608
        return {str(name): str(text) for name, text in rows if text is not None}

    def _all_texts(self) -> pl.DataFrame:
        if self._texts is None:
            texts = self.read("StringIds", ("id",), "value")
            schema = {"id": pl.Int64, "value": pl.String}
            texts = pl.DataFrame(schema=schema) if texts is None else texts
            self._texts = texts.unique("id", keep="first")
        return self._texts

    def _columns(self, table: str) -> set[str]:
        return {str(row[1]) for row in self._connection.execute(f'PRAGMA table_info("{table}")')}

    def _chunks(
        self, table: str, numbers: Sequence[str], text: str
    ) -> Iterator[list[tuple[object, ...]]]:
        there = self._columns(table)
        # The names are constants of this program; a table that lacks one gets nulls.
        wanted = [_number(name) if name in there else "NULL" for name in numbers]
        if text:
            wanted.append(_text(text) if text in there else "NULL")
        names = [name for name in (*numbers, text) if name in there]
        values = [_number(name) for name in numbers if name in there]
        values += [_text(text)] if text in there else []
        unread = [
            f'("{name}" IS NOT NULL AND {value} IS NULL)'
            for name, value in zip(names, values, strict=True)
        ]
        selected = ", ".join([*wanted, " + ".join(unread) or "0"])
        try:
            cursor = self._connection.execute(f'SELECT {selected} FROM "{table}"')  # noqa: S608
            while chunk := cursor.fetchmany(_CHUNK_ROWS):
                self._rows += len(chunk)
                self._hold(self._rows * EVENT_BYTES, 1.0)
                yield chunk
        except sqlite3.DatabaseError as error:
            self.doubts.append(f"{table} is damaged: only what precedes that was used ({error})")


def _number(name: str) -> str:
    """SQL for a whole number of a column; NULL for what is none, or too large to count with."""
    most = _MOST_DEVICE if name in _DEVICES else _MOST
    return (
        f'CASE WHEN typeof("{name}") = \'integer\' AND "{name}" BETWEEN {-most} AND {most} '
        f'THEN "{name}" END'
    )


def _text(name: str) -> str:
    """SQL for a text of a column; NULL for what is none."""
    return f'CASE WHEN typeof("{name}") = \'text\' THEN "{name}" END'


@dataclass(frozen=True)
class Machine:
    """Devices, how processes number them, and when the recording began."""

    devices: tuple[Device, ...] = ()
    host: str | None = None
    origin_ns: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    # Columns process, cuda, device: CUDA_VISIBLE_DEVICES lets each process count from 0.
    numbering: pl.DataFrame | None = None

    @property
    def multiprocessors(self) -> dict[int, float]:
        """Number of multiprocessors by device, where it is known."""
        return {
            device.number: float(device.multiprocessors)
            for device in self.devices
            if device.multiprocessors
        }

    def numbered(self, rows: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
        """`rows` with the machine's number of the device that its process calls `column`."""
        own = pl.col(column).cast(pl.Int32, strict=False).alias(name)
        if self.numbering is None:
            return rows.with_columns(own)
        joined = rows.join(
            self.numbering.rename({"cuda": column, "device": f"{name} of all"}),
            on=["process", column],
            how="left",
            maintain_order="left",
        )
        known = pl.col(f"{name} of all").cast(pl.Int32, strict=False)
        return joined.with_columns(pl.coalesce(known, own).alias(name)).drop(f"{name} of all")


def read_machine(database: Database) -> Machine:
    """What the tables TARGET_INFO_* and META_DATA_* say, as far as they exist."""
    meta = database.pairs("META_DATA_EXPORT", "name", "value")
    environment = database.pairs("TARGET_INFO_SYSTEM_ENV", "name", "value")
    start = database.read("TARGET_INFO_SESSION_START_TIME", ("utcEpochNs",))
    origin = start["utcEpochNs"].drop_nulls() if start is not None else pl.Series(dtype=pl.Int64)
    numbering = database.read("TARGET_INFO_CUDA_DEVICE", ("gpuId", "cudaId", "pid"))
    return Machine(
        devices=_devices(database),
        host=environment.get("Hostname"),
        origin_ns=int(origin[0]) if len(origin) else 0,
        versions={word: meta[name] for name, word in _VERSIONS.items() if name in meta},
        numbering=_numbering(numbering),
    )


def _numbering(rows: pl.DataFrame | None) -> pl.DataFrame | None:
    if rows is None or rows.drop_nulls().is_empty():
        return None
    return (
        rows.drop_nulls()
        .select(process="pid", cuda="cudaId", device="gpuId")
        .unique(["process", "cuda"], keep="first")
    )


def _devices(database: Database) -> tuple[Device, ...]:
    columns = ("id", "totalMemory", "smCount", "computeMajor", "computeMinor")
    rows = database.read("TARGET_INFO_GPU", columns, "name")
    if rows is None:
        return ()
    rows = rows.filter(pl.col("id").is_between(0, _MOST_DEVICE))
    return tuple(
        Device(
            number=int(row["id"]),
            name=row["name"] or "",
            memory_bytes=row["totalMemory"] or None,
            multiprocessors=row["smCount"] or None,
            compute_capability=_capability(row["computeMajor"], row["computeMinor"]),
        )
        for row in rows.unique("id").sort("id").iter_rows(named=True)
    )


def _capability(major: int | None, minor: int | None) -> str | None:
    return f"{major}.{minor or 0}" if major else None
