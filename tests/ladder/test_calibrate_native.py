"""The rates of native layers, on a clock that the test moves."""

from collections.abc import Callable

import pytest
import torch

from tests.cost.test_predict import CEILINGS
from topout.cost.ops import ELEMENT_BYTES
from topout.ladder import calibrate_native
from topout.ladder.calibrate_native import native_rates
from topout.ladder.rate_trials import MatrixSet
from topout.quantization.native_layers import NATIVE_FORMATS


def test_every_format_and_size_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[float] = []

    def fake(action: Callable[[], object], device: torch.device, trials: int = 3) -> float:
        action()
        took.append(0.01 if len(took) % 4 == 0 else 1.0)  # one call, then three sizes
        return took[-1]

    sets = (MatrixSet(64, 128, 2, (1, 5)), MatrixSet(128, 64, 3, (9,)))
    monkeypatch.setattr(calibrate_native, "NATIVE_SETS", sets)
    monkeypatch.setattr(calibrate_native, "time_of", fake)
    rates = native_rates(CEILINGS, 1)
    assert [(rate.kernel, rate.rows) for rate in rates] == [
        (f"native_{name}", rows) for name in NATIVE_FORMATS for rows in (1, 5, 9)
    ]
    for rate in rates:
        size = ELEMENT_BYTES[NATIVE_FORMATS[rate.kernel.removeprefix("native_")].weight_dtype]
        count = 3 if rate.rows == 9 else 2
        assert rate.working_set_bytes == count * 64 * 128 * size
        assert rate.flops_per_s == pytest.approx(
            2 * rate.rows * count * 64 * 128 / (1.0 - count * 0.01)
        )
