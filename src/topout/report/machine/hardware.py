"""Machines to predict for, as documents: one in full, or all; their figures with sources."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from topout import units
from topout.records import ComputePeak, Hardware, Link, MemoryLevel
from topout.report.document import Column, Document, Facts, Paragraph, Part, Row, Table
from topout.report.figures import rate_unit_of
from topout.roofline import ridge_point
from topout.units import ABSENT, bytes_per_s, memory, percent, seconds, si, significant

_CORES = {"gpu": "multiprocessors or compute units", "cpu": "cores"}


def hardware_document(hardware: Hardware) -> Document:
    """One machine: its peaks with ridge points, its levels, its links, what is missing, sources.

    "Datasheet" is what the maker states, "reached" what was measured; the ridge points, by the one
    and by the other, are the arithmetic intensity (FLOP/byte) from which on main memory is not
    the limit.
    """
    sources = _Sources()
    tables: list[Part] = [
        Facts([(name, value) for name, value in _facts(hardware) if value]),
        _peaks(hardware, sources),
        _levels(hardware.levels, sources),
        _links(hardware.links, sources),
    ]
    return Document(
        record=hardware,
        title=hardware.name,
        about=hardware.full_name,
        parts=[
            *tables,
            Facts(_numbered(hardware, sources), "Sources"),
            Facts(list(hardware.reasons.items()), "Missing"),
        ],
    )


def hardware_list_document(machines: Sequence[Hardware]) -> Document:
    """All machines, a line each: the datasheet's figures, measured ones where it has none.

    The ridge point is that of 16-bit products, of fp32 where there are none.
    """
    titles = ("memory", "bandwidth", "fp32\nFLOP/s", "bf16/fp16\nFLOP/s", "int8\nOP/s")
    columns = [Column("machine", text=True, least=18), *map(Column, (*titles, "ridge\nFLOP/B"))]
    rows = [Row([hardware.name, *_list_cells(hardware)]) for hardware in machines]
    starred = any("*" in str(cell) for row in rows for cell in row.cells[1:])
    note = "* measured; the datasheet's figure is not known" if starred else ""
    return Document(
        record=None,
        title="Machines",
        about="that costs can be predicted for",
        parts=[Table(columns, rows), Paragraph(note, "note")],
    )


class _Figure(NamedTuple):
    """A rate to show: the datasheet's, or the measured one with a star."""

    rate: float | None
    measured: bool

    def shown(self, unit: str) -> str:
        return ABSENT if self.rate is None else si(self.rate, unit) + "*" * self.measured


class _Sources:
    """Sources in the order of their first use; a figure carries the number of its source."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, *texts: str | None) -> str:
        """The numbers of these sources: "1 3"."""
        known = dict.fromkeys(text for text in texts if text)
        return " ".join(str(self.numbers.setdefault(t, len(self.numbers) + 1)) for t in known)


def _facts(hardware: Hardware) -> Iterator[tuple[str, str]]:
    yield "Maker", ", ".join(filter(None, [hardware.vendor, hardware.released]))
    clock = f"at {si(hardware.clock_hz, 'Hz')}" if hardware.clock_hz else ""
    cores = f"{hardware.cores} {_CORES[hardware.device]}" if hardware.cores else ""
    yield "Cores", " ".join(filter(None, [cores, clock]))
    yield "Memory", memory(hardware.memory_bytes)
    yield "Power", f"{hardware.power_w:g} W" if hardware.power_w else ""
    yield "Notes", hardware.notes


def _peaks(hardware: Hardware, sources: _Sources) -> Table:
    rows = []
    main = hardware.levels[-1] if hardware.levels else MemoryLevel(name="none")
    for peak in hardware.compute:
        unit = rate_unit_of(peak.dtype)
        spec, reached = peak.spec_flops_per_s, peak.achievable_flops_per_s
        cells = [
            f"{peak.dtype} {peak.unit}",
            si(spec, unit),
            si(reached, unit),
            _share(reached, spec),
            _ridge(spec, main.spec_bytes_per_s),
            _ridge(reached, main.achievable_bytes_per_s),
            sources.mark(peak.spec_source, peak.achievable_source),
        ]
        rows.append(Row(cells))
    titles = ["type, unit", "datasheet", "reached", "of it", "ridge", "ridge\nreached", "source"]
    return _table("Arithmetic, dense, and ridge points (FLOP/byte)", titles, rows)


def _levels(levels: Iterable[MemoryLevel], sources: _Sources) -> Table:
    rows = []
    for level in levels:
        spec, reached = level.spec_bytes_per_s, level.achievable_bytes_per_s
        cells = [
            level.name,
            memory(level.capacity_bytes),
            bytes_per_s(spec),
            bytes_per_s(reached),
            _share(reached, spec),
            sources.mark(level.spec_source, level.achievable_source),
        ]
        rows.append(Row(cells))
    titles = ["level", "capacity", "datasheet", "reached", "of it", "source"]
    return _table("Memory, read bandwidth of all cores together", titles, rows)


def _links(links: Iterable[Link], sources: _Sources) -> Table:
    rows = []
    for link in links:
        cells = [
            link.name,
            str(link.devices or "any"),
            bytes_per_s(link.spec_bytes_per_s),
            bytes_per_s(link.achievable_bytes_per_s),
            seconds(link.latency_s),
            sources.mark(link.spec_source, link.achievable_source, link.latency_source),
        ]
        rows.append(Row(cells))
    titles = ["link", "devices", "datasheet", "reached", "latency", "source"]
    return _table("Links, what one device sends in one direction", titles, rows)


def _table(title: str, titles: Sequence[str], rows: Sequence[Row]) -> Table:
    first, *others, last = titles
    columns = [Column(first, text=True), *map(Column, others), Column(last, text=True)]
    return Table(columns, rows, title)


def _numbered(hardware: Hardware, sources: _Sources) -> list[tuple[str, str]]:
    others = {"memory": hardware.memory_source, "cores": hardware.source}
    return [
        *((str(number), text) for text, number in sources.numbers.items()),
        *((name, text) for name, text in others.items() if text),
    ]


def _share(reached: float | None, spec: float | None) -> str:
    return percent(reached / spec) if reached and spec else ABSENT


def _ridge(flops_per_s: float | None, bandwidth: float | None) -> str:
    if not flops_per_s or not bandwidth:
        return ABSENT
    return significant(ridge_point(flops_per_s, bandwidth))


def _list_cells(hardware: Hardware) -> list[str]:
    main = hardware.levels[-1] if hardware.levels else MemoryLevel(name="none")
    bandwidth = _figure(main.spec_bytes_per_s, main.achievable_bytes_per_s)
    fp32 = _best(hardware, "fp32")
    half = _best(hardware, "bf16")
    if half.rate is None:
        half = _best(hardware, "fp16")
    ridge = _ridge(half.rate or fp32.rate, bandwidth.rate)
    return [
        memory(hardware.memory_bytes),
        bandwidth.shown("B/s"),
        fp32.shown(""),
        half.shown(""),
        _best(hardware, "int8").shown(""),
        ridge,
    ]


def _figure(spec: float | None, measured: float | None) -> _Figure:
    return _Figure(measured, True) if spec is None else _Figure(spec, False)


def _best(hardware: Hardware, dtype: str) -> _Figure:
    """The fastest unit's rate of a data type."""
    peaks: list[ComputePeak] = [each for each in hardware.compute if each.dtype == dtype]
    figures = [_figure(each.spec_flops_per_s, each.achievable_flops_per_s) for each in peaks]
    return max(figures, key=lambda each: each.rate or 0.0, default=_Figure(None, False))


def sources_table(hardware: Hardware) -> Table:
    """Capacity, arithmetic, memory levels and links; web addresses among the sources are links."""
    columns = [
        Column("figure", text=True),
        Column("datasheet"),
        Column("reached"),
        Column("source", text=True, addresses=True),
    ]
    return Table(columns, list(_sourced_figures(hardware)), only="page")


def _sourced_figures(hardware: Hardware) -> Iterator[Row]:
    yield _sourced("memory", units.memory(hardware.memory_bytes), "", hardware.memory_source)
    if hardware.cores is not None or hardware.clock_hz is not None:
        clock = f" at {units.si(hardware.clock_hz, 'Hz')}" if hardware.clock_hz else ""
        cores = str(hardware.cores or "")
        yield _sourced("cores", f"{cores}{clock}".strip(), "", hardware.source)
    for peak in hardware.compute:
        unit = rate_unit_of(peak.dtype)
        yield _sourced(
            f"{peak.dtype}, {peak.unit}",
            units.si(peak.spec_flops_per_s, unit),
            units.si(peak.achievable_flops_per_s, unit),
            peak.spec_source,
            peak.achievable_source,
        )
    for level in hardware.levels:
        capacity = f", {units.memory(level.capacity_bytes)}" if level.capacity_bytes else ""
        yield _sourced(
            f"{level.name}{capacity}",
            units.bytes_per_s(level.spec_bytes_per_s),
            units.bytes_per_s(level.achievable_bytes_per_s),
            level.spec_source,
            level.achievable_source,
        )
    for link in hardware.links:
        latency = f", latency {units.seconds(link.latency_s)}" if link.latency_s else ""
        yield _sourced(
            f"{link.name}{latency}",
            units.bytes_per_s(link.spec_bytes_per_s),
            units.bytes_per_s(link.achievable_bytes_per_s),
            link.spec_source,
            link.achievable_source,
            link.latency_source,
        )


def _sourced(name: str, spec: str, reached: str, *sources: str | None) -> Row:
    return Row([name, spec, reached, "; ".join(dict.fromkeys(filter(None, sources)))])
