"""What a cost report tells its reader to do, and what that would gain."""

import pytest
from msgspec.structs import replace

from tests.report.cost.example_cost import decoder_report
from topout.cost.findings import findings_of
from topout.records import CostReport, OpCost


def decoding(
    compute_s: float, weight_dtype: str = "bf16", kind: str = "linear", bound: str = "memory"
) -> CostReport:
    """One op of 8 GB, 6 of them weights, read in 8 ms, in a token of 10 ms."""
    op = OpCost(
        name="mlp_up",
        part="mlp",
        phase="decode",
        kind=kind,
        count=1,
        shape="",
        flops=1e9,
        weight_bytes=6e9,
        activation_bytes=1e9,
        kv_bytes=1e9,
        bytes=8e9,
        time_s=8e-3,
        memory_s=8e-3,
        compute_s=compute_s,
    )
    report = decoder_report()
    first = report.machines[0]
    assert first.decode is not None
    decode = replace(first.decode, time_s=10e-3, bound=bound)
    return replace(
        report,
        machines=[replace(first, ops=[op], decode=decode)],
        workload=replace(report.workload, weight_dtype=weight_dtype),
    )


@pytest.mark.parametrize(
    ("compute_s", "weight_dtype", "gain"),
    [
        (1e-3, "bf16", "1.43×"),  # 8 ms · (1 − ½ · 6/8) = 5 ms: 10 / (10 − 3)
        (1e-3, "fp32", "1.82×"),  # 8 ms · (1 − ¾ · 6/8) = 3.5 ms: 10 / (10 − 4.5)
        (6e-3, "bf16", "1.25×"),  # arithmetic still takes 6 ms: 10 / (10 − 2)
    ],
)
def test_what_weights_of_a_byte_would_gain_is_told(
    compute_s: float, weight_dtype: str, gain: str
) -> None:
    (decode,) = [each for each in findings_of(decoding(compute_s, weight_dtype)) if "int8" in each]
    assert decode.endswith(
        f"Weights in int8 would make it up to {gain} as fast by their bytes (--quantize int8)."
    )


@pytest.mark.parametrize(
    "report",
    [
        decoding(1e-3, "int8"),
        decoding(1e-3, kind="attention"),
        decoding(1e-3, bound="compute"),
        decoding(7.7e-3),  # 10 / (10 − 0.3) = 1.03×
    ],
)
def test_where_they_would_gain_nothing_nothing_is_said(report: CostReport) -> None:
    assert not any("int8" in finding for finding in findings_of(report))


def test_how_many_experts_a_batch_reads() -> None:
    report = decoder_report()
    mixture = replace(report.model, experts=8, experts_per_token=2)
    (told,) = (each for each in findings_of(replace(report, model=mixture)) if "experts" in each)
    # 8·(1 − (3/4)^B): 2, 5.47, 7.92 and 8.
    assert told.startswith("Of 8 experts in a layer a token goes to 2.")
    assert "of 1 reads 2.00, of 4 reads 5.47, of 16 reads 7.92, of 64 reads 8.00" in told
    every = replace(mixture, experts_per_token=8)
    for model in (report.model, every):
        assert not any("experts" in each for each in findings_of(replace(report, model=model)))
