"""Work on the roofline as a table: sorted, placed, and inside 80 columns."""

from msgspec.structs import replace
from rich.console import Console

from tests.example_machines import cpu, empty, gpu
from topout.cost.roofs import RooflinePoint
from topout.records import Hardware
from topout.report.roofline.table import roofline_document
from topout.report.to_terminal import to_terminal

POINTS = [
    RooflinePoint(
        name=name,
        group="ops",
        arithmetic_intensity=intensity,
        flops_per_s=rate,
        predicted=predicted,
    )
    for name, intensity, rate, predicted in (
        ("mlp_up of prefill", 400.0, 200e12, True),
        ("attention", 1.0, 1.4e12, True),
        ("decode", 2.0, 1.0e12, False),
        ("cached", 3.0, 9e12, False),
    )
]


def shown(hardware: Hardware, points: list[RooflinePoint] | None = None) -> list[str]:
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        document = roofline_document(POINTS if points is None else points, hardware)
        console.print(to_terminal(document))
    return capture.get().splitlines()


def cells(hardware: Hardware) -> dict[str, str]:
    """What stands in each line beside the name, in the order of the lines."""
    found = {}
    for line in shown(hardware):
        for point in POINTS:
            if line.startswith(point.name):
                found[point.name] = " ".join(line.removeprefix(point.name).split())
    return found


def test_work_is_sorted_by_intensity() -> None:
    assert list(cells(gpu())) == ["attention", "decode", "cached", "mlp_up of prefill"]


def test_each_line_has_rate_attainable_share_and_region() -> None:
    assert cells(gpu()) == {
        # 1.5 TB/s · 1 FLOP/byte; 1.4 / 1.5 = 93 %
        "attention": "1.00 ~1.40 TFLOP/s 1.50 TFLOP/s 93 % memory-bound",
        "decode": "2.00 1.00 TFLOP/s 3.00 TFLOP/s 33 % poor, memory",
        "cached": "3.00 9.00 TFLOP/s 4.50 TFLOP/s 200 % above bandwidth",
        # of 271 TFLOP/s
        "mlp_up of prefill": "400 ~200 TFLOP/s 271 TFLOP/s 74 % compute-bound",
    }


def test_it_fits_80_columns() -> None:
    long = [replace(POINTS[0], name="a very long name of an op that goes on and on")]
    assert all(len(line) <= 80 for line in [*shown(gpu()), *shown(gpu(), long)])


def test_the_heading_names_the_roofs_and_where_they_meet() -> None:
    heading = " ".join(shown(cpu())[:2])
    assert "DRAM 20.0 GB/s" in heading
    assert "ridge point 10.0 FLOP/byte" in heading  # bf16 200 / 20


def test_without_roofs_nothing_is_placed() -> None:
    lines = shown(empty())
    assert "do not suffice" in " ".join(lines)
    assert any(line.rstrip().endswith("–") for line in lines)
