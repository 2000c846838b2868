"""A machine's figures with their sources, as rows of text for a page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from topout import units
from topout.records import Hardware

_URL = re.compile(r"https?://[^\s<>\"'`]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of a source's text; `href` is its address where it is one, else ""."""

    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class HardwareFigure:
    """One figure: the maker's, the one that was reached, and where each comes from."""

    name: str
    spec: str
    reached: str
    sources: list[list[Source]]


def hardware_figures(hardware: Hardware) -> list[HardwareFigure]:
    """Capacity, arithmetic, memory levels and links, in this order."""
    return list(_figures(hardware))


def source_pieces(text: str) -> list[Source]:
    """A source's text cut into words and web addresses (http and https alone)."""
    pieces, end = [], 0
    for found in _URL.finditer(text):
        address = found.group().rstrip(".,;:)")
        pieces.append(Source(text[end : found.start()]))
        pieces.append(Source(address, address))
        end = found.start() + len(address)
    return [piece for piece in [*pieces, Source(text[end:])] if piece.text]


def _figures(hardware: Hardware) -> Iterator[HardwareFigure]:
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


def _figure(name: str, spec: str, reached: str, *sources: str | None) -> HardwareFigure:
    texts = dict.fromkeys(text for text in sources if text)
    return HardwareFigure(name, spec, reached, [source_pieces(text) for text in texts])
