"""Machines to predict for, as tables for a terminal of 80 columns: one in full, or all."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from topout.records import ComputePeak, Hardware, Link, MemoryLevel
from topout.roofline import ridge_point
from topout.units import ABSENT, bytes_per_s, memory, percent, seconds, si, significant

_CORES = {"gpu": "multiprocessors or compute units", "cpu": "cores"}


def hardware_table(hardware: Hardware) -> RenderableType:
    """One machine: its peaks with ridge points, its levels, its links, what is missing, sources.

    "Datasheet" is what the maker states, "reached" what was measured; the ridge points, by the one
    and by the other, are the arithmetic intensity (FLOP/byte) from which on main memory is not
    the limit.
    """
    sources = _Sources()
    parts: list[RenderableType] = [_heading(hardware), _peaks(hardware, sources)]
    parts.append(_levels(hardware.levels, sources))
    if hardware.links:
        parts.append(_links(hardware.links, sources))
    parts += _numbered_sources(hardware, sources)
    if hardware.reasons:
        parts.append(Text("\nMissing", style="italic"))
        parts += [_entry(field, reason) for field, reason in hardware.reasons.items()]
    return Group(*parts)


def hardware_list_table(machines: Sequence[Hardware]) -> RenderableType:
    """All machines, a line each: the datasheet's figures, measured ones where it has none.

    The ridge point is that of 16-bit products, of fp32 where there are none.
    """
    table = Table(
        Column("machine", no_wrap=True),
        *(
            Column(title, justify="right", no_wrap=True)
            for title in (
                "memory",
                "bandwidth",
                "fp32\nFLOP/s",
                "bf16/fp16\nFLOP/s",
                "int8\nOP/s",
                "ridge\nFLOP/B",
            )
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for hardware in machines:
        table.add_row(hardware.name, *_list_cells(hardware))
    footnote = Text("* measured; the datasheet's figure is not known", style="dim")
    starred = any("*" in cell for hardware in machines for cell in _list_cells(hardware))
    return Group(table, footnote) if starred else table


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


def _heading(hardware: Hardware) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(hardware):
        if value:
            table.add_row(name, value)
    return table


def _facts(hardware: Hardware) -> Iterator[tuple[str, str]]:
    yield "Machine", f"{hardware.name}: {hardware.full_name}"
    yield "Maker", ", ".join(filter(None, [hardware.vendor, hardware.released]))
    clock = f"at {si(hardware.clock_hz, 'Hz')}" if hardware.clock_hz else ""
    cores = f"{hardware.cores} {_CORES[hardware.device]}" if hardware.cores else ""
    yield "Cores", " ".join(filter(None, [cores, clock]))
    yield "Memory", memory(hardware.memory_bytes)
    yield "Power", f"{hardware.power_w:g} W" if hardware.power_w else ""
    yield "Notes", hardware.notes


def _peaks(hardware: Hardware, sources: _Sources) -> Table:
    columns = ["type, unit", "datasheet", "reached", "of it", "ridge", "ridge\nreached", "source"]
    table = _table("Arithmetic, dense, and ridge points (FLOP/byte)", columns)
    main = hardware.levels[-1] if hardware.levels else MemoryLevel(name="none")
    for peak in hardware.compute:
        unit = "OP/s" if peak.dtype.startswith("int") else "FLOP/s"
        spec, reached = peak.spec_flops_per_s, peak.achievable_flops_per_s
        table.add_row(
            f"{peak.dtype} {peak.unit}",
            si(spec, unit),
            si(reached, unit),
            _share(reached, spec),
            _ridge(spec, main.spec_bytes_per_s),
            _ridge(reached, main.achievable_bytes_per_s),
            sources.mark(peak.spec_source, peak.achievable_source),
        )
    return table


def _levels(levels: Iterable[MemoryLevel], sources: _Sources) -> Table:
    columns = ["level", "capacity", "datasheet", "reached", "of it", "source"]
    table = _table("Memory, read bandwidth of all cores together", columns)
    for level in levels:
        spec, reached = level.spec_bytes_per_s, level.achievable_bytes_per_s
        table.add_row(
            level.name,
            memory(level.capacity_bytes),
            bytes_per_s(spec),
            bytes_per_s(reached),
            _share(reached, spec),
            sources.mark(level.spec_source, level.achievable_source),
        )
    return table


def _links(links: Iterable[Link], sources: _Sources) -> Table:
    columns = ["link", "devices", "datasheet", "reached", "latency", "source"]
    table = _table("Links, what one device sends in one direction", columns)
    for link in links:
        table.add_row(
            link.name,
            str(link.devices or "any"),
            bytes_per_s(link.spec_bytes_per_s),
            bytes_per_s(link.achievable_bytes_per_s),
            seconds(link.latency_s),
            sources.mark(link.spec_source, link.achievable_source, link.latency_source),
        )
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="italic",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        first, last = column == columns[0], column == columns[-1]
        table.add_column(column, justify="left" if first or last else "right", no_wrap=True)
    return table


def _numbered_sources(hardware: Hardware, sources: _Sources) -> list[RenderableType]:
    parts: list[RenderableType] = [
        _entry(str(number), text) for text, number in sources.numbers.items()
    ]
    others = {"memory": hardware.memory_source, "cores": hardware.source}
    parts += [_entry(name, text) for name, text in others.items() if text]
    return [Text("Sources", style="italic"), *parts] if parts else []


def _entry(mark: str, text: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(mark, text)
    return grid


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
