"""The main table of a record, for CSV and data frames: raw figures in SI units.

Columns have the names of the fields. A record in a row is laid out flat: `prefill.time_s` is
`prefill_time_s`, the median of an estimate has the name of the estimate itself, and its interval
the endings `_low` and `_high`. Samples, maps and lists of records are left to the JSON.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from topout import records
from topout.errors import InputError
from topout.records import Record

if TYPE_CHECKING:
    import polars

Scalar = bool | int | float | str | None


class _Layout(NamedTuple):
    """What a row is: words that say where it stands, then the fields of a record."""

    rows: Callable[[Any], Iterable[tuple[Any, ...]]]  # the words, and the record last
    kinds: Sequence[type[Record]]  # that the record is one of
    words: Mapping[str, type] = {}


def _lists(record: Any, *names: str) -> Iterator[tuple[str, Record]]:
    """The records in these lists, each after the name of its list."""
    return ((name, each) for name in names for each in getattr(record, name))


def _ceilings(report: records.MachineReport) -> Iterator[tuple[str, Record]]:
    if report.ceilings is None:
        raise InputError(
            "no ceilings were measured, so there is no table.", "Measure them, or take the JSON."
        )
    return _lists(report.ceilings, "compute", "bandwidth", "overheads")


def _layers(layer: records.Layer) -> Iterator[tuple[Record]]:
    yield (layer,)
    for child in layer.children:
        yield from _layers(child)


_PART = {"part": str}  # the list of the record that a row is from
_SHAPE = {"m": int, "n": int, "k": int, "dtype": str, "threads": int, "label": str, "calls": int}

_LAYOUTS = {
    "ClimbForecast": _Layout(
        lambda forecast: ((each,) for each in forecast.rungs), [records.RungForecast]
    ),
    "Climb": _Layout(
        lambda climb: ((climb.replaced_by(rung), rung) for rung in climb.rungs),
        [records.RungResult],
        {"replaced_by": str},
    ),
    "CostReport": _Layout(
        lambda cost: ((each.name, op) for each in cost.machines for op in each.ops),
        [records.OpCost],
        {"machine": str},
    ),
    "Count": _Layout(lambda count: zip(count.rows), [records.CountedOp]),
    "CountCheck": _Layout(lambda check: zip(check.comparisons), [records.CountComparison]),
    "ExampleReport": _Layout(
        lambda report: ((each.name, at) for each in report.machines for at in each.predictions),
        [records.ExamplePrediction],
        {"machine": str},
    ),
    "GemmReport": _Layout(
        lambda report: (
            (*(getattr(shape, name) for name in _SHAPE), *result)
            for shape in report.shapes
            for result in _lists(shape, "versions", "rivals")
        ),
        [records.GemmResult],
        {**_SHAPE, **_PART},
    ),
    "GenerateReport": _Layout(lambda report: [(report,)], [records.GenerateReport]),
    "Hardware": _Layout(
        lambda hardware: _lists(hardware, "compute", "levels", "links"),
        [records.ComputePeak, records.MemoryLevel, records.Link],
        _PART,
    ),
    "LayersReport": _Layout(lambda report: _layers(report.layers.root), [records.Layer]),
    "MachineReport": _Layout(
        _ceilings,
        [records.ComputeCeiling, records.BandwidthCeiling, records.OverheadCeiling],
        _PART,
    ),
    "ProfileReport": _Layout(
        lambda report: ((phase.name, part) for phase in report.phases for part in phase.parts),
        [records.PartTime],
        {"phase": str},
    ),
    "RunReport": _Layout(
        lambda report: (
            (result.name, phase, measured)
            for result in report.results
            for phase, measured in result.phases
        ),
        [records.PhaseResult],
        {"name": str, "phase": str},
    ),
    "TraceDiff": _Layout(
        lambda diff: _lists(diff, "groups", "kernels"), [records.GroupChange], _PART
    ),
    "TraceReport": _Layout(
        lambda report: ((at.rank, at.device, each) for at in report.ranks for each in at.kernels),
        [records.KernelTime],
        {"rank": int, "device": int},
    ),
    "TraceRuns": _Layout(lambda report: zip(report.runs), [records.TracedRun]),
    "TrainReport": _Layout(
        lambda report: (
            (case.ranks, rank, step)
            for case in report.cases
            for rank, steps in enumerate(case.steps)
            for step in steps
        ),
        [records.TrainStep],
        {"ranks": int, "rank": int},
    ),
}
"""By the name of the record's class."""


_BEYOND = 2**63  # what a column of whole numbers holds


def main_table(
    record: Record | Sequence[Record],
) -> tuple[Mapping[str, type], Sequence[Sequence[Scalar]]]:
    """Columns, with the type of their values, and rows: of a record, or of several of one kind.

    Raises InputError where a record has none.
    """
    if isinstance(record, Record):
        name = type(record).__name__
        if name not in _LAYOUTS:
            raise InputError(f"a {name} has no table.", "Take its fields, or the JSON.")
        layout = _LAYOUTS[name]
    else:
        layout = _Layout(lambda each: zip(each), [type(record[0])])
    leaves = {kind: _leaves(kind) for kind in layout.kinds}
    figures = {name: leaf.type for each in leaves.values() for name, leaf in each.items()}
    rows = []
    for *words, held in layout.rows(record):
        values = {name: leaf.of(held) for name, leaf in leaves[type(held)].items()}
        rows.append([*words, *(values.get(name) for name in figures)])
    return {**layout.words, **figures}, rows


def to_frame(record: Record) -> "polars.DataFrame":
    """The main table as a data frame; raises InputError where a record has none.

    A column of whole numbers of which one has more than 63 bits, such as FLOPs, is one of floats.
    """
    import polars

    types = {bool: polars.Boolean, int: polars.Int64, float: polars.Float64, str: polars.String}
    columns, rows = main_table(record)
    series = []
    for index, (name, kind) in enumerate(columns.items()):
        values: list[Any] = [row[index] for row in rows]
        if kind is int and not all(each is None or -_BEYOND <= each < _BEYOND for each in values):
            kind, values = float, [None if each is None else float(each) for each in values]
        series.append(polars.Series(name, values, types[kind]))
    return polars.DataFrame(series)


class _Leaf(NamedTuple):
    """A value inside of a record."""

    path: tuple[str, ...]
    type: type

    def of(self, record: Any) -> Scalar:
        """The value; None where a record on the way to it is None. Texts and shapes are joined."""
        for name in self.path:
            record = None if record is None else getattr(record, name)
        if isinstance(record, list):
            return "; ".join(map(str, record))
        return None if record is None else self.type(record)


@functools.cache
def _leaves(kind: type[Record]) -> dict[str, _Leaf]:
    """The values inside of a record of this kind, by the name of their column."""
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.name == "schema_version":
            continue
        inner = field.type
        if NoneType in get_args(inner):
            inner = next(each for each in get_args(inner) if each is not NoneType)
        if isinstance(inner, type) and issubclass(inner, Record):
            for name, leaf in _leaves(inner).items():
                column = field.name if name == "median" else f"{field.name}_{name}"
                found[column] = _Leaf((field.name, *leaf.path), leaf.type)
        elif inner in (bool, int, float, str):
            found[field.name] = _Leaf((field.name,), inner)
        elif get_origin(inner) is Literal or inner in (list[str], list[list[int]]):
            found[field.name] = _Leaf((field.name,), str)
    return found
