"""The roofs of a machine: a rising one per memory level, a flat one per data type.

A roof that was reached (measured here, or by somebody who published it) and the one that the
datasheet promises stand side by side and never take each other's name.
"""

import math
from collections.abc import Iterable
from typing import Literal

from topout.errors import InputError
from topout.records import (
    Basis,
    Ceilings,
    ComputePeak,
    Hardware,
    MemoryLevel,
    PeakDtype,
    Record,
)
from topout.roofline import (
    MAIN_MEMORY,
    ROOF_TOLERANCE,
    Placement,
    ceilings_at,
    level_ceiling,
    level_holding,
    place,
)


class BandwidthRoof(Record, frozen=True, kw_only=True):
    """One memory level: bytes/s that were reached, and those of the datasheet."""

    level: str
    capacity_bytes: int | None = None
    reached_bytes_per_s: float | None = None
    reached_basis: Basis = "published"
    spec_bytes_per_s: float | None = None

    @property
    def bytes_per_s(self) -> float:
        """What was reached, else what the datasheet says."""
        return _first(self.reached_bytes_per_s, self.spec_bytes_per_s)

    @property
    def basis(self) -> Basis:
        """Where `bytes_per_s` comes from."""
        return "datasheet" if self.reached_bytes_per_s is None else self.reached_basis


class ComputeRoof(Record, frozen=True, kw_only=True):
    """One data type on one kind of unit: FLOP/s (int types: OP/s) reached, and of the datasheet."""

    dtype: PeakDtype
    unit: Literal["vector", "matrix"]
    reached_flops_per_s: float | None = None
    reached_basis: Basis = "published"
    spec_flops_per_s: float | None = None

    @property
    def flops_per_s(self) -> float:
        """What was reached, else what the datasheet says."""
        return _first(self.reached_flops_per_s, self.spec_flops_per_s)

    @property
    def basis(self) -> Basis:
        """Where `flops_per_s` comes from."""
        return "datasheet" if self.reached_flops_per_s is None else self.reached_basis


class Roofs(Record, frozen=True, kw_only=True):
    """All roofs of a machine; memory levels from the nearest to main memory, which is last."""

    bandwidth: list[BandwidthRoof]
    compute: list[ComputeRoof]

    def level(self, name: str | None = None) -> BandwidthRoof | None:
        """The roof of a memory level, main memory's without a name; None when it has none."""
        if name is None:
            return self.bandwidth[-1] if self.bandwidth else None
        return next((roof for roof in self.bandwidth if roof.level == name), None)

    def level_holding(self, working_set_bytes: float, *, across_ops: bool) -> BandwidthRoof | None:
        """The nearest level with room for so many bytes, as `roofline.level_holding` has it."""
        capacities = ((roof.level, roof.capacity_bytes) for roof in self.bandwidth)
        return self.level(level_holding(capacities, working_set_bytes, across_ops=across_ops))

    def peak(
        self, dtype: PeakDtype, unit: Literal["vector", "matrix"] | None = None
    ) -> ComputeRoof | None:
        """The highest roof of a data type, on one kind of unit if asked; None when it has none."""
        found = [r for r in self.compute if r.dtype == dtype and unit in (None, r.unit)]
        return max(found, key=lambda roof: roof.flops_per_s, default=None)


class RooflinePoint(Record, frozen=True, kw_only=True):
    """Work to be placed: an op, a phase, a kernel, a rung.

    It stands under the roofs of `dtype` (None: the chart's own) and `level` (None: main memory).
    """

    name: str
    group: str
    arithmetic_intensity: float  # FLOP/byte
    flops_per_s: float
    predicted: bool
    dtype: PeakDtype | None = None
    level: str | None = None
    detail: str = ""


def roofs_of(hardware: Hardware) -> Roofs:
    """The roofs of a machine: its ceilings, where it was measured, and its datasheet's figures.

    Ceilings are those of the most threads that were measured. A CPU whose fp64 rate is not known
    gets half of its fp32 vector rate ("derived"): a vector register holds half as many doubles.
    """
    ceilings = hardware.ceilings
    bandwidth = [_level_roof(level, hardware, ceilings) for level in _all_levels(hardware)]
    compute = _compute_roofs(hardware, ceilings)
    if hardware.device == "cpu" and not any(roof.dtype == "fp64" for roof in compute):
        compute += [
            _half(roof) for roof in compute if (roof.dtype, roof.unit) == ("fp32", "vector")
        ]
    return Roofs(
        bandwidth=[roof for roof in bandwidth if _known(roof)],
        compute=[roof for roof in compute if _known(roof)],
    )


def default_dtype(roofs: Roofs) -> PeakDtype | None:
    """The data type whose roof shades the regions: the 16-bit one of transformers, else fp32."""
    for dtype in ("bf16", "fp16", "fp32", "fp64"):
        if roofs.peak(dtype) is not None:
            return dtype
    return roofs.compute[0].dtype if roofs.compute else None


def place_point(
    point: RooflinePoint, roofs: Roofs, dtype: PeakDtype | None = None
) -> Placement | None:
    """The point under its own roofs, those of `dtype` where it names none.

    None when the machine lacks such a roof or the point has no place (no FLOPs, no time).
    """
    kind = point.dtype or dtype or default_dtype(roofs)
    peak = roofs.peak(kind) if kind else None
    level = roofs.level(point.level)
    if peak is None or level is None:
        return None
    try:
        return place(
            point.arithmetic_intensity,
            point.flops_per_s,
            peak.flops_per_s,
            level.bytes_per_s,
            ROOF_TOLERANCE,
        )
    except InputError:
        return None


def _all_levels(hardware: Hardware) -> list[MemoryLevel]:
    """The machine's levels; where it lists none, those that its ceilings were measured in."""
    if hardware.levels or hardware.ceilings is None:
        return hardware.levels
    largest: dict[str, int] = {}
    for each in sorted(hardware.ceilings.bandwidth, key=lambda each: each.working_set_bytes):
        largest[each.level] = each.working_set_bytes
    names = sorted(largest, key=lambda name: (name in MAIN_MEMORY, largest[name]))
    return [
        MemoryLevel(
            name=name,
            capacity_bytes=hardware.memory_bytes if name in MAIN_MEMORY else largest[name],
        )
        for name in names
    ]


def _level_roof(level: MemoryLevel, hardware: Hardware, ceilings: Ceilings | None) -> BandwidthRoof:
    names = {level.name, level.name.removesuffix("d")}
    if hardware.levels and level is hardware.levels[-1]:
        names.update(MAIN_MEMORY)  # whatever it is called there, it is main memory
    measured = [rate for name in names if (rate := _measured_bandwidth(ceilings, name))]
    return BandwidthRoof(
        level=level.name,
        capacity_bytes=level.capacity_bytes,
        reached_bytes_per_s=max(measured, default=level.achievable_bytes_per_s),
        reached_basis="measured" if measured else "published",
        spec_bytes_per_s=level.spec_bytes_per_s,
    )


def _measured_bandwidth(ceilings: Ceilings | None, level: str) -> float | None:
    found = level_ceiling(ceilings, level) if ceilings is not None else None
    return found.bytes_per_s if found is not None else None


def _compute_roofs(hardware: Hardware, ceilings: Ceilings | None) -> list[ComputeRoof]:
    """A roof per data type and unit; a measured rate belongs to the type's strongest unit."""
    measured = _measured_compute(ceilings)
    roofs = [
        ComputeRoof(
            dtype=peak.dtype,
            unit=peak.unit,
            reached_flops_per_s=peak.achievable_flops_per_s,
            spec_flops_per_s=peak.spec_flops_per_s,
        )
        for peak in hardware.compute
        if peak.dtype not in measured or peak is not _strongest(hardware.compute, peak.dtype)
    ]
    for dtype, rate in measured.items():
        peak = _strongest(hardware.compute, dtype)
        roofs.append(
            ComputeRoof(
                dtype=dtype,
                unit=peak.unit if peak else "vector",
                reached_flops_per_s=rate,
                reached_basis="measured",
                spec_flops_per_s=peak.spec_flops_per_s if peak else None,
            )
        )
    return roofs


def _measured_compute(ceilings: Ceilings | None) -> dict[PeakDtype, float]:
    best: dict[PeakDtype, float] = {}
    for each in ceilings_at(ceilings).compute if ceilings is not None else []:
        best[each.dtype] = max(best.get(each.dtype, 0.0), each.flops_per_s)
    return best


def _strongest(peaks: Iterable[ComputePeak], dtype: PeakDtype) -> ComputePeak | None:
    found = [peak for peak in peaks if peak.dtype == dtype]
    return max(found, key=lambda peak: peak.spec_flops_per_s or 0.0, default=None)


def _half(fp32: ComputeRoof) -> ComputeRoof:
    return ComputeRoof(
        dtype="fp64",
        unit="vector",
        reached_flops_per_s=fp32.flops_per_s / 2,
        reached_basis="derived",
    )


def _known(roof: BandwidthRoof | ComputeRoof) -> bool:
    """Whether every figure that it has is a rate: one below 1 per second is none."""
    if isinstance(roof, BandwidthRoof):
        figures = (roof.reached_bytes_per_s, roof.spec_bytes_per_s)
    else:
        figures = (roof.reached_flops_per_s, roof.spec_flops_per_s)
    known = [each for each in figures if each is not None]
    return bool(known) and min(known) >= 1 and math.isfinite(max(known))


def _first(reached: float | None, spec: float | None) -> float:
    """The known one of two figures, of which `roofs_of` lets none pass without any."""
    figure = reached if reached is not None else spec
    if figure is None:
        raise InputError("a roof has no figure.", "Give what was reached, or the datasheet's.")
    return figure
