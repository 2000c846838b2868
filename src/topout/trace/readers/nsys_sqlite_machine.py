"""The machine and the recording, as Nsight Systems' SQLite export describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from topout.trace.readers.nsys_sqlite_tables import Database
from topout.trace.table import Device

_VERSIONS = {"EXPORT_PRODUCT_VERSION": "nsys", "EXPORT_SCHEMA_VERSION": "schema"}


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
        own = pl.col(column).cast(pl.Int32).alias(name)
        if self.numbering is None:
            return rows.with_columns(own)
        joined = rows.join(
            self.numbering.rename({"cuda": column, "device": f"{name} of all"}),
            on=["process", column],
            how="left",
            maintain_order="left",
        )
        known = pl.col(f"{name} of all").cast(pl.Int32)
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
    return tuple(
        Device(
            number=int(row["id"]),
            name=row["name"] or "",
            memory_bytes=row["totalMemory"] or None,
            multiprocessors=row["smCount"] or None,
            compute_capability=_capability(row["computeMajor"], row["computeMinor"]),
        )
        for row in rows.drop_nulls("id").unique("id").sort("id").iter_rows(named=True)
    )


def _capability(major: int | None, minor: int | None) -> str | None:
    return f"{major}.{minor or 0}" if major else None
