"""The time of each named region and part of the model, the gaps, and the time line of one pass.

A part is what modules are called when all layers of a stack are taken as one: "blocks.0.mlp.up" and
"blocks.11.mlp.up" are both "mlp.up". A number stands for a layer where the modules that differ in
it alone are all of one class.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from topout.profiling.slices import Slices, numbers_of, region_name
from topout.records import GapTime, PartTime, RegionTime, TimelineSpan
from topout.records.profile import SpanKind
from topout.trace.analysis.intervals import union

_S = 1e-9
_ANY = "*"
OUTSIDE = "outside of all modules"
MOST_SPANS = 2000  # the longest of a pass with more: shorter ones are thinner than a line
_LENGTH = pl.col("end_ns") - pl.col("start_ns")
_KINDS: dict[str, SpanKind] = {
    "annotation": "region",
    "cpu_op": "operator",
    "runtime": "runtime",
}


class Parts:
    """Names of parts by names of regions; `types` are the classes of the model's modules."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._stacks = self._find_stacks(types)
        general = {self.general(name) for name in types}
        # Two stacks (an encoder's and a decoder's) may have parts of the same name.
        self._several = len({name.rpartition(f".{_ANY}.")[0] for name in general} - {""}) > 1

    def general(self, region: str) -> str:
        """The region's name with the numbers of layers taken out: "blocks.*.mlp.up"."""
        if region not in self._types:
            return region
        words: list[str] = []
        own: list[str] = []
        for word in region.split("."):
            is_layer = word.isdigit() and ".".join(own) in self._stacks
            words.append(_ANY if is_layer else word)
            own.append(word)
        return ".".join(words)

    def part(self, region: str) -> str:
        """The part that a region belongs to: "mlp.up"; the block itself: "blocks.*"."""
        name = self.general(region)
        inside = name.rpartition(f".{_ANY}.")[2]
        # "blocks.*.1" is no more than "1" without its stack, and says nothing.
        return name if self._several or inside.isdigit() else inside

    @staticmethod
    def _find_stacks(types: Mapping[str, str]) -> set[str]:
        layers: dict[str, list[str]] = {}
        for name, kind in types.items():
            stack, _, last = name.rpartition(".")
            if last.isdigit():
                layers.setdefault(stack, []).append(kind)
        return {stack for stack, kinds in layers.items() if len(kinds) > 1 and _alike(kinds)}


def _alike(kinds: Iterable[str]) -> bool:
    return len(set(kinds)) == 1


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


def timeline(slices: Slices, number: int, most: int = MOST_SPANS) -> list[TimelineSpan]:
    """What ran in a phase on its own thread, in the order of time; the phase itself is first."""
    phase = slices.phases.row(number, named=True)
    events = slices.events.filter(
        (pl.col("phase") == number) & (pl.col("thread") == phase["thread"])
    ).sort("start_ns", "duration_ns", descending=[False, True])
    begin_ns = phase["start_ns"]
    spans: list[TimelineSpan] = []
    open_ends: list[int] = []
    columns = events.select("name", "kind", "start_ns", "end_ns")
    for name, kind, start_ns, end_ns in columns.iter_rows():
        while open_ends and open_ends[-1] <= start_ns:
            open_ends.pop()
        span = TimelineSpan(
            name=phase["name"] if not open_ends else region_name(name),
            kind=_KINDS[kind],
            depth=len(open_ends),
            start_s=(start_ns - begin_ns) * _S,
            duration_s=(end_ns - start_ns) * _S,
        )
        spans.append(span)
        open_ends.append(end_ns)
    return _longest(spans, most)


def _longest(spans: list[TimelineSpan], most: int) -> list[TimelineSpan]:
    if len(spans) <= most:
        return spans
    least_s = sorted((span.duration_s for span in spans), reverse=True)[most - 1]
    return [span for span in spans if span.duration_s >= least_s]


def median_pass(slices: Slices, numbers: list[int]) -> int:
    """The number of the pass of median duration."""
    lengths = (slices.phases["end_ns"] - slices.phases["start_ns"]).to_list()
    ordered = sorted(numbers, key=lambda number: lengths[number])
    return ordered[(len(ordered) - 1) // 2]
