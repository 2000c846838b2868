"""Rates at the ceilings: predictions from them are the least time that the hardware allows."""

from topout.ladder.calibrate import MODES
from topout.ladder.rates import RatesRequest
from topout.machine.ceilings import main_rates
from topout.records import AttentionRate, Ceilings, Doubt, Dtype, LinearRate, ModeOverhead, Rates
from topout.records.record import utc_now
from topout.roofline import bandwidth_at, compute_at

AT_THE_CEILINGS = Doubt(
    about="predictions",
    sentence="What PyTorch reaches here was not measured: predictions are the least time that the "
    "ceilings allow, without overhead, and rungs that save overhead look as if they saved nothing.",
    remedy="Leave out --quick once; what is measured is kept.",
)
_MODEL_BYTES = 1 << 28  # a working set that no cache holds
_DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")


def rates_at_ceilings(ceilings: Ceilings, request: RatesRequest) -> Rates:
    """Every kernel at its ceiling, and no overhead."""
    threads = request.threads
    bandwidth = bandwidth_at(ceilings, _MODEL_BYTES, threads)
    fp32 = compute_at(ceilings, "fp32", threads) or main_rates(ceilings)[0] or bandwidth
    return Rates(
        host_key=ceilings.host_key,
        versions="none: at the ceilings",
        device=request.device,
        threads=threads,
        architecture=request.architecture,
        measured_at=utc_now(),
        linear=[
            LinearRate(
                kernel="any",
                rows=1,
                matrix_elements=1,
                working_set_bytes=_MODEL_BYTES,
                efficiency=1.0,
                flops_per_s=fp32,
            )
        ],
        attention=[
            AttentionRate(
                dtype=dtype,
                prefill_flops_per_s=compute_at(ceilings, dtype, threads) or fp32,
                decode_bytes_per_s=bandwidth,
            )
            for dtype in _DTYPES
        ],
        elementwise_bytes_per_s=bandwidth,
        modes=[
            ModeOverhead(
                mode=mode,
                prefill_fixed_s=0.0,
                prefill_per_layer_s=0.0,
                decode_fixed_s=0.0,
                decode_per_layer_s=0.0,
            )
            for mode in MODES
        ],
        speculation_pass_s=0.0,
        doubts=[AT_THE_CEILINGS],
    )
