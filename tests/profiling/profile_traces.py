"""Traces of a few events made by hand, in the columns that every reader fills."""

from pathlib import Path
from typing import Any

import polars as pl

from topout.trace.capture import MODULE_PREFIX, PHASE_PREFIX
from topout.trace.table import Device, Trace, with_all_columns

MAIN, OTHER = 1, 2  # threads


def event(kind: str, name: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    """One event on the main thread, from start to end in nanoseconds."""
    row = {"kind": kind, "name": name, "start_ns": start, "duration_ns": end - start}
    return {"thread": MAIN, "process": 7, "device": -1} | row | more


def phase(name: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    return event("annotation", PHASE_PREFIX + name, start, end, **more)


def module(name: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    return event("annotation", MODULE_PREFIX + name, start, end, **more)


def op(name: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    return event("cpu_op", name, start, end, **more)


def trace_of(*events: dict[str, Any], devices: tuple[Device, ...] = ()) -> Trace:
    rows = pl.DataFrame(list(events), infer_schema_length=None)
    return Trace(
        path=Path("made-by-hand.json"),
        format="kineto",
        events=with_all_columns(rows),
        devices=devices,
    )


def two_layers() -> Trace:
    """One pass of 1000 ns: two layers, each a product inside of `aten::linear`, and an addition.

    By hand: linear calls 200 + 200, of which addmm 160 + 160; add 50 outside of all modules.
    Operators: 450. Gaps: 1000 − 450 = 550.
    """
    shapes = "[[8, 4], [4, 6]]"
    return trace_of(
        phase("decode token 1", 0, 1000),
        module("layers.0", 100, 400),
        module("layers.0.up", 150, 380),
        op("aten::linear", 160, 360, shapes=shapes),
        op("aten::addmm", 190, 350, shapes=shapes),
        module("layers.1", 500, 800),
        module("layers.1.up", 550, 780),
        op("aten::linear", 560, 760, shapes=shapes),
        op("aten::addmm", 590, 750, shapes=shapes),
        op("aten::add", 900, 950, shapes="[[8], [8]]"),
    )


TYPES = {"layers.0": "Block", "layers.1": "Block", "layers.0.up": "Linear", "layers.1.up": "Linear"}
