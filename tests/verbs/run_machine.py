"""Ceilings for runs in tests, since measuring them takes longer than the runs."""

import pytest

from topout.machine.describe import describe
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling


def plain_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine with round ceilings, and no look at what else it does."""
    machine = describe()
    dram = BandwidthCeiling(
        level="DRAM", threads=1, page="4k", working_set_bytes=1 << 28, bytes_per_s=2e10, samples=[]
    )
    ceilings = Ceilings(
        host_key=machine.host_key,
        device="cpu",
        measured_at="2026-01-02T03:04:05+00:00",
        elapsed_s=1.0,
        quick=True,
        compute=[
            ComputeCeiling(dtype=dtype, threads=1, instruction="fma", flops_per_s=rate, samples=[])
            for dtype, rate in (("fp32", 1e11), ("bf16", 2e11))
        ],
        bandwidth=[dram],
    )
    monkeypatch.setattr(
        "topout.generation.subject.load_or_measure_ceilings", lambda *_, **__: ceilings
    )
    monkeypatch.setattr("topout.generation.subject.load_doubts", list)
