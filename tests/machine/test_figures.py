"""Figures of machines, ceilings and rates: finite, positive, and no kernel above the ceilings."""

from typing import Any

import msgspec
import pytest

from tests.known_machine import known_ceilings, known_rates
from topout.errors import RecordError
from topout.machine.catalog.find import check_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.describe import describe
from topout.machine.figures import check_figures, check_rates, figures_of
from topout.records import Cache, Estimate, Rates

MACHINE = describe()
CEILINGS = known_ceilings(MACHINE)  # 400 GOP/s at the most, 20 GB/s
RATES = known_rates(MACHINE, 1)


def with_rate(**changes: Any) -> Rates:
    """The rates with changes to the first of the linear layers' ones, or to their own fields."""
    of_linear = {
        name: changes.pop(name) for name in ("efficiency", "flops_per_s") if name in changes
    }
    first = msgspec.structs.replace(RATES.linear[0], **of_linear)
    return msgspec.structs.replace(RATES, linear=[first, *RATES.linear[1:]], **changes)


def test_every_number_has_its_path() -> None:
    cache = Cache(name="L1d", size_bytes=7, instances=2)
    machine = msgspec.structs.replace(MACHINE, caches=[cache])
    found = dict(figures_of(machine))
    assert found["caches[0].size_bytes"] == 7
    assert found["usable_cpus"] == machine.usable_cpus
    assert "hardware_counters" not in found  # a boolean is no figure
    assert "schema_version" not in dict(figures_of(RATES))


def test_figures_have_to_be_above_zero() -> None:
    check_figures(Estimate(median=1.0, low=0.5, high=2.0), "file")
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RecordError, match="file: `low`"):
            check_figures(Estimate(median=1.0, low=value, high=2.0), "file")


def test_a_difference_of_times_may_be_nothing_but_not_less() -> None:
    check_rates(with_rate(speculation_pass_s=0.0), CEILINGS, "file")
    with pytest.raises(RecordError, match="speculation_pass_s` is -1; it has to be 0 or more"):
        check_rates(with_rate(speculation_pass_s=-1.0), CEILINGS, "file")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"efficiency": 1.02}, None),  # two measurements scatter
        ({"efficiency": 1.03}, r"linear\[0\].efficiency` is 1.03, and no ceiling is above 1"),
        ({"flops_per_s": 4e16}, r"linear\[0\].flops_per_s` is 4e\+16, and no ceiling is above 4e"),
        ({"elementwise_bytes_per_s": 3e10}, "elementwise_bytes_per_s"),
        ({"elementwise_bytes_per_s": 0.0}, "above 0"),
    ],
)
def test_no_kernel_is_above_the_ceilings(changes: dict[str, Any], words: str | None) -> None:
    if words is None:
        check_rates(with_rate(**changes), CEILINGS, "file")
        return
    with pytest.raises(RecordError, match=words):
        check_rates(with_rate(**changes), CEILINGS, "file")


def test_a_machine_file_is_checked_with_what_was_measured() -> None:
    check_hardware(hardware_of(MACHINE, CEILINGS, [RATES]), "file")
    with pytest.raises(RecordError, match=r"rates of gpt2: `linear\[0\].efficiency`"):
        check_hardware(hardware_of(MACHINE, CEILINGS, [with_rate(efficiency=2.0)]), "file")
    wrong = msgspec.structs.replace(CEILINGS, clock_hz=-1.0)
    with pytest.raises(RecordError, match=r"ceilings.clock_hz"):
        check_hardware(
            msgspec.structs.replace(hardware_of(MACHINE, CEILINGS), ceilings=wrong), "file"
        )
