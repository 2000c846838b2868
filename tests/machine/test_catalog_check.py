"""What a machine file must not say is refused, with the field named; gaps are accepted."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import RecordError
from topout.machine.catalog.find import check_hardware, find_hardware
from topout.records import Hardware

SMALLEST: dict[str, Any] = {
    "schema_version": 1,
    "kind": "hardware",
    "name": "box",
    "full_name": "A box",
    "device": "cpu",
    "vendor": "me",
    "memory_bytes": 16_000_000_000,
    "compute": [{"dtype": "fp32", "unit": "vector", "spec_flops_per_s": 1e12}],
    "levels": [
        {"name": "L2", "capacity_bytes": 1_000_000},
        {"name": "DRAM", "spec_bytes_per_s": 50e9},
    ],
    "links": [{"name": "10 GbE", "kind": "ethernet", "devices": 2, "spec_bytes_per_s": 1.25e9}],
}
FIGURES = [
    ("memory_bytes",),
    ("clock_hz",),
    ("power_w",),
    ("cores",),
    ("compute", 0, "spec_flops_per_s"),
    ("compute", 0, "achievable_flops_per_s"),
    ("levels", 0, "capacity_bytes"),
    ("levels", 1, "spec_bytes_per_s"),
    ("levels", 1, "achievable_bytes_per_s"),
    ("links", 0, "spec_bytes_per_s"),
    ("links", 0, "latency_s"),
    ("links", 0, "devices"),
]


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The smallest machine with one field set."""
    machine = json.loads(json.dumps(SMALLEST))
    place: Any = machine
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return machine


def dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def check(machine: dict[str, Any]) -> None:
    check_hardware(msgspec.convert(machine, Hardware), "box.json")


def test_a_machine_with_gaps_is_accepted():
    check(SMALLEST)
    bare = changed(("compute",), [])
    bare["levels"] = [{"name": "DRAM"}]
    bare["links"] = []
    check(bare)


@pytest.mark.parametrize("path", FIGURES, ids=dotted)
@given(value=st.integers(max_value=0))
def test_a_figure_that_is_not_above_zero_is_refused_by_its_name(path, value):
    with pytest.raises(RecordError) as caught:
        check(changed(path, value))
    assert "box.json" in str(caught.value)
    assert f"`{dotted(path)}`" in str(caught.value)


@given(value=st.floats(max_value=0, allow_nan=False) | st.sampled_from([float("nan"), 1e400]))
def test_rates_that_are_no_rates_are_refused(value):
    with pytest.raises(RecordError, match=r"levels\[1\]\.spec_bytes_per_s"):
        check(changed(("levels", 1, "spec_bytes_per_s"), value))


@given(
    spec=st.floats(min_value=1, max_value=1e18),
    share=st.floats(min_value=0.01, max_value=1.2),
)
def test_a_rate_that_was_reached_may_lie_a_little_over_the_datasheet(spec, share):
    machine = changed(("compute", 0, "spec_flops_per_s"), spec)
    machine["compute"][0]["achievable_flops_per_s"] = spec * share
    check(machine)


@given(
    spec=st.floats(min_value=1, max_value=1e18),
    share=st.floats(min_value=1.3, max_value=100),
)
def test_a_rate_far_over_the_datasheet_is_a_contradiction(spec, share):
    machine = changed(("levels", 1, "spec_bytes_per_s"), spec)
    machine["levels"][1]["achievable_bytes_per_s"] = spec * share
    with pytest.raises(RecordError, match=r"levels\[1\]\.achievable_bytes_per_s"):
        check(machine)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("levels",), [], "levels"),
        (("levels",), [{"name": "L2"}, {"name": "L3"}], "levels"),
        (("levels", 0, "name"), "DRAM", "levels"),
        (("levels", 1, "capacity_bytes"), 8_000_000_000, r"levels\[1\]\.capacity_bytes"),
        (("compute",), [SMALLEST["compute"][0]] * 2, "compute"),
        (("links",), [SMALLEST["links"][0]] * 2, "links"),
        (("links", 0, "devices"), 1, r"links\[0\]\.devices"),
    ],
)
def test_contradictions_are_refused_by_their_field(path, value, named):
    with pytest.raises(RecordError, match=f"`{named}`"):
        check(changed(path, value))


def test_one_type_on_two_units_is_no_contradiction():
    both = [{"dtype": "fp16", "unit": unit} for unit in ("vector", "matrix")]
    check(changed(("compute",), both))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not valid JSON"),
        ("[]", "schema_version"),
        (json.dumps(changed(("schema_version",), 99)), "99"),
        (json.dumps(changed(("kind",), "climb")), "climb"),
        (json.dumps(changed(("memory_bytes",), "much")), "memory_bytes"),
        (json.dumps(changed(("memory_bytes",), None)), "memory_bytes"),
        (json.dumps(changed(("compute", 0, "dtype"), "fp12")), r"compute\[0\]\.dtype"),
        (json.dumps(changed(("links", 0, "kind"), "string")), r"links\[0\]\.kind"),
        (json.dumps(changed(("levels", 1, "bytes_per_s"), 1e9)), "bytes_per_s"),
        (json.dumps(changed(("power_w",), -3)), "power_w"),
    ],
)
def test_a_broken_file_is_refused_with_its_path_and_its_field(tmp_path: Path, text, named):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=named) as caught:
        find_hardware(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path):
    with pytest.raises(RecordError, match="cannot read"):
        find_hardware(str(tmp_path / "none.json"))
    with pytest.raises(RecordError, match="cannot read"):
        find_hardware(str(tmp_path) + "/")
