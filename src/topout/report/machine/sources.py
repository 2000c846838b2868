"""A machine's figures with their sources, as a table for a page."""

from collections.abc import Iterator

from topout import units
from topout.records import Hardware
from topout.report.document import Column, Row, Table


def sources_table(hardware: Hardware) -> Table:
    """Capacity, arithmetic, memory levels and links; web addresses among the sources are links."""
    columns = [
        Column("figure", text=True),
        Column("datasheet"),
        Column("reached"),
        Column("source", text=True, addresses=True),
    ]
    return Table(columns, list(_figures(hardware)), only="page")


def _figures(hardware: Hardware) -> Iterator[Row]:
    yield _figure("memory", units.memory(hardware.memory_bytes), "", hardware.memory_source)
    if hardware.cores is not None or hardware.clock_hz is not None:
        clock = f" at {units.si(hardware.clock_hz, 'Hz')}" if hardware.clock_hz else ""
        cores = str(hardware.cores or "")
        yield _figure("cores", f"{cores}{clock}".strip(), "", hardware.source)
    for peak in hardware.compute:
        unit = "OP/s" if peak.dtype.startswith("int") else "FLOP/s"
        yield _figure(
            f"{peak.dtype}, {peak.unit}",
            units.si(peak.spec_flops_per_s, unit),
            units.si(peak.achievable_flops_per_s, unit),
            peak.spec_source,
            peak.achievable_source,
        )
    for level in hardware.levels:
        capacity = f", {units.memory(level.capacity_bytes)}" if level.capacity_bytes else ""
        yield _figure(
            f"{level.name}{capacity}",
            units.bytes_per_s(level.spec_bytes_per_s),
            units.bytes_per_s(level.achievable_bytes_per_s),
            level.spec_source,
            level.achievable_source,
        )
    for link in hardware.links:
        latency = f", latency {units.seconds(link.latency_s)}" if link.latency_s else ""
        yield _figure(
            f"{link.name}{latency}",
            units.bytes_per_s(link.spec_bytes_per_s),
            units.bytes_per_s(link.achievable_bytes_per_s),
            link.spec_source,
            link.achievable_source,
            link.latency_source,
        )


def _figure(name: str, spec: str, reached: str, *sources: str | None) -> Row:
    return Row([name, spec, reached, "; ".join(dict.fromkeys(filter(None, sources)))])
