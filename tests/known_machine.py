"""This machine with ceilings and rates of round figures, which the tests find in their cache.

Measuring them takes longer than the tests that need some. What measures them has tests of its own,
with a fresh cache.
"""

from topout.ladder.rates import RatesRequest, keep_rates
from topout.machine.ceilings import keep_ceilings
from topout.machine.describe import describe
from topout.models.known import known_config_json
from topout.records import (
    AttentionRate,
    BandwidthCeiling,
    Ceilings,
    ComputeCeiling,
    Dtype,
    LinearRate,
    Machine,
    ModeOverhead,
    Rates,
)

FLOPS_PER_S: dict[Dtype, float] = {"fp32": 1e11, "bf16": 2e11, "int8": 4e11}
BYTES_PER_S = 2e10


def fill_cache() -> None:
    """Put the ceilings of this machine and GPT-2's rates into the cache, as if measured."""
    machine = describe()
    ceilings = known_ceilings(machine)
    keep_ceilings(ceilings, machine)
    for threads in {1, machine.usable_cpus}:
        request = RatesRequest(
            architecture="gpt2",
            config_json=known_config_json("gpt2"),
            device="cpu",
            threads=threads,
            with_compile=False,
        )
        keep_rates(known_rates(machine, threads), machine, ceilings, request)


def known_ceilings(machine: Machine) -> Ceilings:
    """100 GFLOP/s in fp32 and 20 GB/s, for one thread and for all."""
    counts = sorted({1, machine.usable_cpus})
    return Ceilings(
        host_key=machine.host_key,
        device="cpu",
        measured_at="2026-01-02T03:04:05+00:00",
        elapsed_s=1.0,
        quick=False,
        compute=[
            ComputeCeiling(
                dtype=dtype, threads=threads, instruction="fma", flops_per_s=rate, samples=[rate]
            )
            for threads in counts
            for dtype, rate in FLOPS_PER_S.items()
        ],
        bandwidth=[
            BandwidthCeiling(
                level="DRAM",
                threads=threads,
                page="4k",
                working_set_bytes=1 << 28,
                bytes_per_s=BYTES_PER_S,
                samples=[BYTES_PER_S],
            )
            for threads in counts
        ],
    )


def known_rates(machine: Machine, threads: int) -> Rates:
    """GPT-2 at half of the ceilings, in both modes without a compiler."""
    return Rates(
        host_key=machine.host_key,
        versions="those that are installed",
        device="cpu",
        threads=threads,
        architecture="gpt2",
        linear=[
            LinearRate(
                kernel=f"linear_{dtype}",
                rows=rows,
                matrix_elements=1 << 18,
                working_set_bytes=1 << 24,
                efficiency=0.5,
                flops_per_s=rate / 2,
            )
            for dtype, rate in FLOPS_PER_S.items()
            for rows in (1, 256)
        ],
        attention=[
            AttentionRate(dtype=dtype, prefill_flops_per_s=5e10, decode_bytes_per_s=1e10)
            for dtype in ("fp32", "bf16")
        ],
        elementwise_bytes_per_s=1e10,
        modes=[
            ModeOverhead(
                mode=mode,
                prefill_fixed_s=1e-3,
                prefill_per_layer_s=per_layer_s,
                decode_fixed_s=1e-3,
                decode_per_layer_s=per_layer_s,
            )
            for mode, per_layer_s in (("transformers_eager", 6e-4), ("decoder_eager", 5e-4))
        ],
        speculation_pass_s=3e-4,
    )
