"""The table of operators of a phase, and its groups: self times that add up, with the gaps."""

from collections.abc import Sequence

import polars as pl

from topout.profiling.costs import shapes_of
from topout.profiling.rates import Units, device_time_ns
from topout.profiling.slices import Slices, innermost_at
from topout.records import GroupTime, OperatorShape, OperatorTime
from topout.trace.table import Trace

_S = 1e-9
_MOST_SHAPES, _EXAMPLES = 8, 3
_LENGTH = pl.col("end_ns") - pl.col("start_ns")
WRAPPERS = "views and wrappers"
# The counting run's families by the names that groups of kernels have.
_GROUPS = {"product": "matrix-mul", "elementwise": "element-wise", "movement": "memory"}


def operator_times(
    trace: Trace, slices: Slices, numbers: Sequence[int], traced_s: float
) -> list[OperatorTime]:
    """Each operator of these phases, the largest self time first."""
    calls = _calls(trace, slices, numbers)
    rows = []
    for (name,), found in calls.group_by("name", maintain_order=True):
        count, self_ns = found.height, int(found["self_ns"].sum())
        total_ns = int(found["duration_ns"].sum())
        device_ns = found["device_ns"].sum() if "device_ns" in found.columns else None
        rows.append(
            OperatorTime(
                name=str(name),
                calls=count,
                self_s=self_ns * _S,
                self_share=self_ns * _S / traced_s if traced_s else 0.0,
                total_s=total_ns * _S,
                mean_s=total_ns * _S / count,
                device_s=None if device_ns is None else int(device_ns) * _S,
                shapes=_by_shapes(found),
            )
        )
    return sorted(rows, key=lambda row: (-row.self_s, row.name))


def _calls(trace: Trace, slices: Slices, numbers: Sequence[int]) -> pl.DataFrame:
    """The calls with their self times, and with their time on devices where there are any.

    A call that began before the phase has self time in it and is no call of it.
    """
    own = (
        slices.of(numbers)
        .filter(pl.col("operator") >= 0)
        .group_by("operator")
        .agg(_LENGTH.sum().alias("self_ns"))
    )
    calls = slices.operators(numbers)
    calls = calls.join(own, left_on="row", right_on="operator", how="left", maintain_order="left")
    calls = calls.with_columns(pl.col("self_ns").fill_null(0))
    if trace.device_work.is_empty():
        return calls
    return calls.with_columns(pl.Series("device_ns", device_time_ns(trace, calls), dtype=pl.Int64))


def _by_shapes(calls: pl.DataFrame) -> list[OperatorShape]:
    sums = (
        calls.group_by(pl.col("shapes").fill_null(""), maintain_order=True)
        .agg(pl.len().alias("calls"), pl.col("self_ns").sum(), pl.col("duration_ns").sum())
        .sort("duration_ns", descending=True)
        .head(_MOST_SHAPES)
    )
    return [
        OperatorShape(
            shapes=shapes_text(text), calls=count, self_s=self_ns * _S, total_s=total_ns * _S
        )
        for text, count, self_ns, total_ns in sums.iter_rows()
    ]


def shapes_text(text: str | None) -> str:
    """The shapes as people write them: "[8, 768] [768, 2304]"."""
    return " ".join(str(list(shape)) for shape in shapes_of(text))


def group_times(slices: Slices, numbers: Sequence[int], units: Units) -> list[GroupTime]:
    """The time by what operators do, the longest first; views and mere callers
    of others are a group of their own."""
    table = slices.of(numbers)
    inside = table.filter(pl.col("operator") >= 0)
    families = dict(zip(units.calls["row"].to_list(), units.calls["family"].to_list(), strict=True))
    unknown = set(units.uncounted["row"].to_list())
    of_unit = innermost_at(units.calls, inside)
    of_unknown = innermost_at(units.uncounted, inside)
    names = [
        _group(families.get(int(unit)), int(other) in unknown)
        for unit, other in zip(of_unit, of_unknown, strict=True)
    ]
    inside = inside.with_columns(pl.Series("group", names, dtype=pl.String))
    sums = inside.group_by("group").agg(_LENGTH.sum(), pl.col("operator").n_unique().alias("calls"))
    members = _members(units)
    whole = sum(sums["end_ns"].to_list()) or 1
    groups = []
    for name, length, operators in sums.iter_rows():
        calls, examples = members.get(name, (operators, []))
        groups.append(
            GroupTime(
                name=name,
                calls=calls,
                total_s=length * _S,
                share=length / whole,
                examples=examples,
            )
        )
    return sorted(groups, key=lambda group: (-group.total_s, group.name))


def _group(family: str | None, is_unknown: bool) -> str:
    if family is not None:
        return _GROUPS.get(family, family)
    return "other" if is_unknown else WRAPPERS


def _members(units: Units) -> dict[str, tuple[int, list[str]]]:
    """Calls and the longest operators of each group."""
    found: dict[str, tuple[int, list[str]]] = {}
    known = units.calls.select("name", "family", "duration_ns")
    unknown = units.uncounted.select("name", pl.lit("other").alias("family"), "duration_ns")
    for (family,), calls in pl.concat([known, unknown]).group_by("family", maintain_order=True):
        longest = calls.group_by("name").agg(pl.col("duration_ns").sum()).sort("duration_ns")
        names = longest["name"].reverse().head(_EXAMPLES).to_list()
        found[_GROUPS.get(str(family), str(family))] = (calls.height, names)
    return found
