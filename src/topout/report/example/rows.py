"""A worked example as rows of text, the same on the terminal and on the page."""

from dataclasses import dataclass

from topout import units
from topout.records import (
    Basis,
    Example,
    ExampleMachine,
    ExampleName,
    ExamplePrediction,
    ExampleReport,
    MeasuredExample,
)
from topout.report.intervals import spread

_BASIS_WORDS: dict[Basis, str] = {
    "measured": "measured",
    "published": "published",
    "datasheet": "datasheet",
    "derived": "half of fp32",
}
_ITEMS: dict[ExampleName, str] = {
    "axpy": "an element",
    "stencil": "a point",
    "matmul": "an element",
}


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """A table of text; `numbers` are the columns that are set to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()


def example_tables(report: ExampleReport) -> list[ExampleTable]:
    """The sum, each machine's roofs, the crossovers, and the measured run."""
    tables = [_sum_table(report.example)]
    for machine in report.machines:
        tables += [_levels_table(report.example, machine), _traffic_table(report.example, machine)]
        tables.append(_crossover_table(machine))
    tables.append(_placements_table(report))
    return [table for table in tables if table.rows]


def measured_facts(measured: MeasuredExample) -> list[tuple[str, str]]:
    """What was run, and what came of it."""
    return [
        ("Kernel", f"{measured.kernel}, {measured.threads} threads"),
        ("Working set", units.memory(measured.working_set_bytes)),
        (
            "Time of one pass",
            f"{units.seconds(measured.time_s.median)} {spread(measured.time_s)}, "
            f"{len(measured.samples_s)} trials",
        ),
        ("Rate", units.flops_per_s(measured.flops_per_s.median)),
        ("Largest error against numpy", f"{measured.largest_error:.1e}"),
        ("Read bandwidth in between", _range(measured.read_bytes_per_s, "B/s")),
        ("fp32 rate in between", _range(measured.fp32_flops_per_s, "FLOP/s")),
    ]


def peak_words(machine: ExampleMachine) -> str:
    """ "fp64 19.5 TFLOP/s (datasheet)", or why there is none."""
    if machine.flops_per_s is None or machine.flops_basis is None:
        return machine.reasons.get("flops_per_s", "no fp64 rate")
    basis = _BASIS_WORDS[machine.flops_basis]
    return f"fp64 {units.flops_per_s(machine.flops_per_s)} ({basis})"


def _range(samples: list[float], unit: str) -> str:
    if not samples:
        return units.ABSENT
    return f"{units.si(min(samples), unit)} to {units.si(max(samples), unit)}"


def _sum_table(example: Example) -> ExampleTable:
    rows = [
        [
            each.name,
            units.significant(each.bytes / example.flops * _flops_per_item(example)),
            units.significant(each.arithmetic_intensity),
            each.bytes_sum,
        ]
        for each in example.traffic
    ]
    return ExampleTable(
        "Arithmetic intensity",
        ["Counted with", f"Bytes {_ITEMS[example.name]}", "FLOP/byte", "Sum"],
        rows,
        frozenset({1, 2}),
    )


def _flops_per_item(example: Example) -> float:
    return {"axpy": 2.0, "stencil": 7.0, "matmul": 2.0 * example.n}[example.name]


def _levels_table(example: Example, machine: ExampleMachine) -> ExampleTable:
    rows = [
        [
            f"{each.level} ◂" if each.level == machine.level else each.level,
            units.bytes_per_s(each.bytes_per_s),
            _BASIS_WORDS[each.basis],
            units.significant(each.ridge_point),
            *_allowed(each),
        ]
        for each in machine.predictions
        if each.traffic == example.counted
    ]
    return ExampleTable(
        f"{machine.name}: {peak_words(machine)}, counted with “{example.counted}”",
        ["Level", "Bandwidth", "from", "Ridge", "Attainable", "Time", "Region"],
        rows,
        frozenset({1, 3, 4, 5}),
    )


def _traffic_table(example: Example, machine: ExampleMachine) -> ExampleTable:
    """The same for other ways to count the bytes, all from the level that holds the data."""
    intensities = {each.name: each.arithmetic_intensity for each in example.traffic}
    rows = [
        [each.traffic, units.significant(intensities[each.traffic]), *_allowed(each)]
        for each in machine.predictions
        if each.level == machine.level
    ]
    return ExampleTable(
        f"{machine.name}: bytes counted otherwise, all from {machine.level}",
        ["Counted with", "FLOP/byte", "Attainable", "Time", "Region"],
        rows if len(rows) > 1 else [],
        frozenset({1, 2, 3}),
    )


def _allowed(prediction: ExamplePrediction) -> list[str]:
    return [
        units.flops_per_s(prediction.attainable_flops_per_s),
        units.seconds(prediction.time_s),
        prediction.region,
    ]


def _crossover_table(machine: ExampleMachine) -> ExampleTable:
    rows = [
        [
            each.dtype,
            units.si(each.flops_per_s, "OP/s" if each.dtype in ("int8", "int4") else "FLOP/s"),
            _BASIS_WORDS[each.basis],
            units.significant(each.ridge_point),
            f"{each.n_of_doubles:.0f}",
            f"{each.n_of_dtype:.0f}",
        ]
        for each in machine.crossovers
    ]
    return ExampleTable(
        f"{machine.name}: the n past which an n×n matmul is compute-bound",
        ["Type", "Rate", "from", "Ridge", "n/16\n(8-byte data)", "n, data of\nthe type"],
        rows,
        frozenset({1, 3, 4, 5}),
    )


def _placements_table(report: ExampleReport) -> ExampleTable:
    rows = [
        [
            each.traffic,
            units.significant(each.arithmetic_intensity),
            units.bytes_per_s(each.bytes_per_s),
            units.bytes_per_s(each.ceiling_bytes_per_s),
            units.percent(each.attained_share),
            each.region,
        ]
        for each in report.placements
    ]
    return ExampleTable(
        "Measured here, under the roofs of that moment (of reading)",
        ["Counted with", "FLOP/byte", "Moved", "Ceiling", "Share", "Region"],
        rows,
        frozenset({1, 2, 3, 4}),
    )
