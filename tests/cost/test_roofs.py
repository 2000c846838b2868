"""Which roofs a machine has, and under which of them work is placed."""

import pytest
from msgspec.structs import replace

from tests.example_machines import MIB, cpu, empty, gpu, peak
from topout.cost.roofs import (
    RooflinePoint,
    default_dtype,
    place_point,
    roofs_of,
)
from topout.records import Ceilings, Hardware, MemoryLevel


def point(intensity: float, rate: float, **more: object) -> RooflinePoint:
    return RooflinePoint(
        name="op",
        group="ops",
        arithmetic_intensity=intensity,
        flops_per_s=rate,
        predicted=False,
        **more,  # type: ignore[arg-type]
    )


def test_a_datasheet_gives_a_roof_per_level_and_per_type_and_unit() -> None:
    roofs = roofs_of(gpu())
    assert [(roof.level, roof.bytes_per_s, roof.basis) for roof in roofs.bandwidth] == [
        ("L2", 5e12, "datasheet"),
        ("HBM", 1.5e12, "datasheet"),
    ]
    fp64 = [roof for roof in roofs.compute if roof.dtype == "fp64"]
    assert [(roof.unit, roof.flops_per_s) for roof in fp64] == [
        ("vector", 9.7e12),
        ("matrix", 19.5e12),
    ]


def test_what_somebody_reached_goes_before_the_datasheet() -> None:
    roof = roofs_of(gpu()).peak("bf16")
    assert roof is not None
    assert (roof.flops_per_s, roof.basis, roof.spec_flops_per_s) == (271e12, "published", 312e12)


def test_ceilings_give_the_roofs_of_the_most_threads() -> None:
    roofs = roofs_of(cpu())
    assert [(roof.level, roof.bytes_per_s, roof.basis) for roof in roofs.bandwidth] == [
        ("L1", 400e9, "measured"),
        ("L2", 390e9, "measured"),
        ("L3", 80e9, "measured"),
        ("DRAM", 20e9, "measured"),  # of the largest set
    ]
    fp32 = roofs.peak("fp32")
    assert fp32 is not None
    assert (fp32.flops_per_s, fp32.basis) == (100e9, "measured")


def test_the_doubles_of_a_cpu_are_half_of_its_floats() -> None:
    fp64 = roofs_of(cpu()).peak("fp64")
    assert fp64 is not None
    assert (fp64.flops_per_s, fp64.basis) == (50e9, "derived")
    stated = replace(cpu(), compute=[peak("fp64", "vector", 70e9)])
    assert [r.flops_per_s for r in roofs_of(stated).compute if r.dtype == "fp64"] == [70e9]
    no_doubles = replace(gpu(), compute=[peak("fp32", "vector", 1e12)])
    assert roofs_of(no_doubles).peak("fp64") is None  # a GPU's may be a 64th


def test_ceilings_and_datasheet_of_one_machine_meet_in_one_roof() -> None:
    machine = replace(
        cpu(),
        compute=[peak("fp32", "vector", 150e9), peak("bf16", "matrix", 900e9)],
        levels=[MemoryLevel(name="L2"), MemoryLevel(name="DDR5", spec_bytes_per_s=38.4e9)],
    )
    roofs = roofs_of(machine)
    memory, fp32, bf16 = roofs.level(), roofs.peak("fp32"), roofs.peak("bf16")
    assert memory is not None
    assert fp32 is not None
    assert bf16 is not None
    assert (memory.level, memory.bytes_per_s, memory.spec_bytes_per_s) == ("DDR5", 20e9, 38.4e9)
    assert (fp32.flops_per_s, fp32.spec_flops_per_s) == (100e9, 150e9)
    assert (bf16.unit, bf16.flops_per_s) == ("matrix", 200e9)
    assert len([roof for roof in roofs.compute if roof.dtype == "bf16"]) == 1


@pytest.mark.parametrize(
    ("size", "level"),
    [(16 << 10, "L1"), (1 * MIB, "L2"), (10 * MIB, "L3"), (17 * MIB, "DRAM"), (1e12, "DRAM")],
)
def test_a_working_set_is_served_by_the_nearest_level_that_holds_it(
    size: float, level: str
) -> None:
    found = roofs_of(cpu()).level_holding(size, across_ops=False)
    assert found is not None
    assert found.level == level


def test_data_that_stay_from_op_to_op_are_beyond_the_first_level() -> None:
    found = roofs_of(cpu()).level_holding(1, across_ops=True)
    assert found is not None
    assert found.level == "L2"


@pytest.mark.parametrize("figure", [0.0, 1e-320, float("inf")])
def test_a_figure_that_is_no_rate_gives_no_roof(figure: float) -> None:
    """Also beside one that is: nobody can say which of the two is wrong."""
    machine = replace(gpu(), compute=[peak("bf16", "matrix", 312e12, figure)])
    assert roofs_of(machine).compute == []


def test_a_machine_without_figures_has_no_roofs() -> None:
    roofs = roofs_of(empty())
    assert (roofs.bandwidth, roofs.compute) == ([], [])
    assert roofs.level() is None
    assert roofs.level_holding(1.0, across_ops=False) is None
    assert default_dtype(roofs) is None
    assert place_point(point(1.0, 1.0), roofs) is None


def test_the_regions_are_of_the_sixteen_bit_type_unless_told() -> None:
    assert default_dtype(roofs_of(gpu())) == "bf16"
    only_fp32 = replace(gpu(), compute=[peak("fp32", "vector", 1e12)])
    assert default_dtype(roofs_of(only_fp32)) == "fp32"


@pytest.mark.parametrize(
    ("work", "region"),
    [
        (point(1.0, 1.4e12), "memory-bound"),  # of 1.5 TFLOP/s
        (point(1.0, 0.7e12), "poor"),
        (point(1.0, 1.7e12), "above the bandwidth roof"),
        (point(1.0, 4e12, level="L2"), "memory-bound"),  # of 5 TFLOP/s
        (point(1000.0, 200e12), "compute-bound"),  # bf16: 271 TFLOP/s
        (point(1000.0, 400e12), "above the compute roof"),
        (point(1000.0, 400e12, dtype="int8"), "compute-bound"),  # 624
        (point(1000.0, 11e12, dtype="fp32"), "compute-bound"),  # 19.5
    ],
)
def test_work_stands_under_its_own_roofs(work: RooflinePoint, region: str) -> None:
    placed = place_point(work, roofs_of(gpu()))
    assert placed is not None
    assert placed.region == region


def test_work_that_has_no_place_is_not_placed() -> None:
    roofs = roofs_of(gpu())
    assert place_point(point(0.0, 1.0), roofs) is None  # no FLOPs
    assert place_point(point(1.0, 0.0), roofs) is None
    assert place_point(point(1.0, 1.0, level="L7"), roofs) is None
    assert place_point(point(1.0, 1.0, dtype="int4"), roofs) is None


def test_ceilings_without_bandwidth_give_no_rising_roof() -> None:
    assert isinstance(cpu().ceilings, Ceilings)
    bare: Hardware = replace(cpu(), ceilings=replace(cpu().ceilings, bandwidth=[]))
    assert roofs_of(bare).bandwidth == []
    assert roofs_of(bare).peak("fp32") is not None
