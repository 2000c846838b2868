"""What every figure of a machine has to be, published or measured: finite, and above 0.

Rates measured by kernels have to stay under the ceilings too.
"""

import math
from collections.abc import Iterator
from typing import Any

from topout.errors import RecordError
from topout.records import Ceilings, Rates, Record
from topout.roofline import ROOF_TOLERANCE, ceilings_at

_CORRECT = "Correct the figure, or leave it out and say why in `reasons`."
# Differences of two times, which may come out as nothing, and a time that may be too short to show.
_MAY_BE_ZERO = {
    "elapsed_s",
    "prefill_fixed_s",
    "prefill_per_layer_s",
    "decode_fixed_s",
    "decode_per_layer_s",
    "speculation_pass_s",
}


def check_figures(record: Record, source: str) -> None:
    """Raise RecordError that names `source` and the field of the first figure that cannot be.

    Every number of the record and of the records within it has to be finite and above 0; times
    that are differences may be 0.
    """
    for path, value in figures_of(record):
        may_be_zero = path.rpartition(".")[2] in _MAY_BE_ZERO
        if not math.isfinite(value) or value < 0 or (value == 0 and not may_be_zero):
            least = "0 or more" if may_be_zero else "above 0"
            raise fault(source, path, f"is {value:g}; it has to be {least}", _CORRECT)


def figures_of(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """(path, number) of every number in a record: "compute[0].flops_per_s"."""
    if isinstance(value, Record):
        for field in value.__struct_fields__:
            if field != "schema_version":
                yield from figures_of(getattr(value, field), f"{path}.{field}".lstrip("."))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from figures_of(each, f"{path}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def check_rates(rates: Rates, ceilings: Ceilings, source: str) -> None:
    """Raise RecordError for rates that no kernel reaches: above the ceilings they derive from."""
    check_figures(rates, source)
    at_most = ceilings_at(ceilings, rates.threads)
    limits = {
        "efficiency": 1.0,
        "flops_per_s": max((each.flops_per_s for each in at_most.compute), default=math.inf),
        "bytes_per_s": max((each.bytes_per_s for each in at_most.bandwidth), default=math.inf),
    }
    for path, value in figures_of(rates):
        name = path.rpartition(".")[2]
        kind = next((kind for kind in limits if name.endswith(kind)), None)
        if kind is not None and value > limits[kind] * (1 + ROOF_TOLERANCE):
            what = f"is {value:.3g}, and no ceiling is above {limits[kind]:.3g}"
            raise fault(source, path, what, "Measure again on a quiet machine.")


def fault(source: str, path: str, what: str, remedy: str) -> RecordError:
    """An error that names the file and the field."""
    return RecordError(f"{source}: `{path}` {what}.", remedy)
