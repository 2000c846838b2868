"""The time of each named region and of each part of the model, and the gaps between operators."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from topout.profiling.innermost import numbers_of
from topout.profiling.parts import Parts
from topout.profiling.slices import Slices, region_name
from topout.records import GapTime, PartTime, RegionTime
from topout.trace.analysis.intervals import union

_S = 1e-9
OUTSIDE = "outside of all modules"
_LENGTH = pl.col("end_ns") - pl.col("start_ns")


class _Own(NamedTuple):
    """Nanoseconds of a region: in operators, in none, and of the operators in the backward."""

    operator_ns: int = 0
    gap_ns: int = 0
    backward_ns: int = 0


def region_times(
    slices: Slices, numbers: Sequence[int], parts: Parts, traced_s: float
) -> list[RegionTime]:
    """Each region of these phases, in the order of their first calls; the rest comes last."""
    found = slices.regions(numbers)
    own = _own(slices, numbers)
    calls = found.group_by("name", maintain_order=True).agg(
        pl.len().alias("calls"), pl.col("duration_ns").sum()
    )
    rows = [
        _region(region_name(name), parts, count, total_ns, own.pop(name, _Own()), traced_s)
        for name, count, total_ns in calls.iter_rows()
    ]
    rest = own.pop("", _Own())
    rest_ns = rest.operator_ns + rest.gap_ns
    return [*rows, _region(OUTSIDE, parts, len(numbers), rest_ns, rest, traced_s)]


def _region(
    name: str, parts: Parts, calls: int, total_ns: int, own: _Own, traced_s: float
) -> RegionTime:
    own_s = (own.operator_ns + own.gap_ns) * _S
    return RegionTime(
        name=name,
        part=parts.general(name),
        calls=calls,
        total_s=total_ns * _S,
        self_s=own_s,
        self_share=own_s / traced_s if traced_s else 0.0,
        operator_s=own.operator_ns * _S,
        gap_s=own.gap_ns * _S,
        backward_s=own.backward_ns * _S,
    )


def _own(slices: Slices, numbers: Sequence[int]) -> dict[str, _Own]:
    """By the name of the region."""
    sums = (
        _named(slices, slices.of(numbers))
        .group_by("region_name")
        .agg(
            _LENGTH.filter(pl.col("operator") >= 0).sum().alias("operator_ns"),
            _LENGTH.filter(pl.col("operator") < 0).sum().alias("gap_ns"),
            _LENGTH.filter((pl.col("operator") >= 0) & pl.col("backward")).sum().alias("back_ns"),
        )
    )
    return {name: _Own(*lengths) for name, *lengths in sums.iter_rows()}


def _named(slices: Slices, table: pl.DataFrame) -> pl.DataFrame:
    names = slices.events.select("row", pl.col("name").alias("region_name"))
    joined = table.join(names, left_on="region", right_on="row", how="left", maintain_order="left")
    return joined.with_columns(pl.col("region_name").fill_null(""))


def part_times(regions: Iterable[RegionTime], parts: Parts) -> list[PartTime]:
    """Regions of the same part added up, the largest self time first."""
    sums: dict[str, list[RegionTime]] = {}
    for region in regions:
        sums.setdefault(parts.part(region.name), []).append(region)
    found = [
        PartTime(
            name=name,
            calls=sum(each.calls for each in members),
            total_s=sum(each.total_s for each in members),
            self_s=sum(each.self_s for each in members),
            self_share=sum(each.self_share for each in members),
            operator_s=sum(each.operator_s for each in members),
            gap_s=sum(each.gap_s for each in members),
            backward_s=sum(each.backward_s for each in members),
        )
        for name, members in sums.items()
    ]
    return sorted(found, key=lambda part: (-part.self_s, part.name))


def gap_times(
    slices: Slices, numbers: Sequence[int], parts: Parts, traced_s: float
) -> list[GapTime]:
    """Time of the phases' own threads in which no thread was in an operator, by where it passed.

    Within a call of the device's runtime it is that call's, else the part's.
    """
    table = slices.of(numbers).filter(pl.col("operator") < 0)
    table = _named(slices, table).filter(pl.col("thread").is_in(_own_threads(slices, numbers)))
    starts, ends = numbers_of(table, "start_ns"), numbers_of(table, "end_ns")
    open_ns = ends - starts - slices.operator_cover().covered_in(starts, ends)
    sums: dict[str, int] = {}
    names = slices.events["name"]
    rows = zip(table["region_name"], table["runtime"], open_ns.tolist(), strict=True)
    for region, runtime, length in rows:
        place = parts.part(region_name(region)) if region else OUTSIDE
        where = str(names[runtime]) if runtime >= 0 else place
        sums[where] = sums.get(where, 0) + length
    found = [
        GapTime(part=name, total_s=length * _S, share=length * _S / traced_s if traced_s else 0.0)
        for name, length in sums.items()
        if length
    ]
    return sorted(found, key=lambda gap: (-gap.total_s, gap.part))


def _own_threads(slices: Slices, numbers: Sequence[int]) -> list[int]:
    threads = slices.phases["thread"].to_list()
    return sorted({threads[number] for number in numbers})


def operator_ns(slices: Slices, numbers: Sequence[int]) -> tuple[int, int]:
    """(sum over threads, time covered) of operators within these phases, in nanoseconds."""
    table = slices.of(numbers).filter(pl.col("operator") >= 0)
    starts, ends = numbers_of(table, "start_ns"), numbers_of(table, "end_ns")
    return int((ends - starts).sum()), union(starts, ends).covered_ns
