"""Records survive the trip through JSON, and nothing else passes for one."""

import errno
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topout import records
from topout.errors import OutputError, RecordError
from topout.records import (
    Ceilings,
    Climb,
    Estimate,
    Machine,
    MachineReport,
    Record,
    RungResult,
    RunSample,
    decode,
    encode,
    read,
    write,
)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(min_value=-(2**63), max_value=2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=6),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of any type that a record's field may have."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return st.none() | values_of(inner)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=2)
    return records_of(annotation)


def records_of(record_type: type[Record]) -> st.SearchStrategy[Any]:
    """Records with every field drawn, except the schema version."""
    fields = {
        field.name: values_of(field.type)
        for field in msgspec.structs.fields(record_type)
        if field.name != "schema_version"
    }
    return st.builds(record_type, **fields)


@pytest.mark.parametrize(
    "record_type", [Estimate, RunSample, Machine, Ceilings, MachineReport, RungResult, Climb]
)
def test_a_record_survives_the_round_trip(record_type: type[Record]) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(record_type))
    def round_trip(record: Record) -> None:
        assert decode(encode(record), record_type) == record

    round_trip()


def test_every_field_of_a_climb_can_be_drawn() -> None:
    """The strategy above would be worthless if it could not reach the nested records."""
    seen = set()

    def walk(record_type: Any) -> None:
        seen.add(record_type)
        for field in msgspec.structs.fields(record_type):
            for inner in (field.type, *typing.get_args(field.type)):
                if isinstance(inner, type) and issubclass(inner, Record) and inner not in seen:
                    walk(inner)

    walk(Climb)
    assert {RungResult, RunSample, Machine, Ceilings, records.Duel} <= seen


SAMPLE = RunSample(ttft_s=0.1, total_s=1.0, new_tokens=8, forward_passes=7, at_s=0.0)


def _report() -> dict[str, Any]:
    machine = Machine(
        host_key="k",
        hostname="h",
        os="o",
        kernel="5",
        architecture="x86_64",
        cpu_model="c",
        logical_cpus=2,
        usable_cpus=2,
        memory_bytes=1,
        page_bytes=4096,
    )
    report: dict[str, Any] = json.loads(encode(MachineReport(machine=machine)))
    return report


def _refused(data: Any, *fragments: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode(json.dumps(data), MachineReport, "run.json")
    assert "run.json" in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_the_unchanged_report_is_accepted() -> None:
    assert decode(json.dumps(_report()), MachineReport).machine.hostname == "h"


def test_an_unknown_field_is_named() -> None:
    data = _report()
    data["machine"]["colour"] = "red"
    _refused(data, "colour", "$.machine")


def test_a_wrong_type_is_named_with_its_field() -> None:
    data = _report()
    data["machine"]["logical_cpus"] = "two"
    _refused(data, "$.machine.logical_cpus", "int")


def test_a_missing_field_is_named() -> None:
    data = _report()
    del data["machine"]["cpu_model"]
    _refused(data, "cpu_model")


def test_another_schema_version_is_refused() -> None:
    _refused(_report() | {"schema_version": 2}, "schema_version 2", "reads 1")
    data = _report()
    del data["schema_version"]
    _refused(data, "schema_version")


def test_another_kind_is_refused() -> None:
    _refused(_report() | {"kind": "climb"}, "climb", "machine")


@pytest.mark.parametrize("data", ["[]", "3", "null", '"text"'])
def test_json_that_is_not_an_object_is_refused(data: str) -> None:
    with pytest.raises(RecordError, match="schema_version"):
        decode(data, MachineReport)


def test_a_literal_outside_its_choices_is_refused() -> None:
    with pytest.raises(RecordError, match=r"dtype"):
        decode(
            '{"dtype":"fp8","threads":1,"instruction":"","flops_per_s":1,"samples":[]}',
            records.ComputeCeiling,
        )


def test_a_record_is_frozen() -> None:
    with pytest.raises(AttributeError):
        SAMPLE.ttft_s = 2.0  # type: ignore[misc]


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(encode(SAMPLE)[:20])
    with pytest.raises(RecordError, match=r"run\.json is not valid JSON"):
        read(path, RunSample)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"absent\.json"):
        read(tmp_path / "absent.json", RunSample)


def test_write_then_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write(SAMPLE, path)
    assert read(path, RunSample) == SAMPLE
    assert path.read_bytes().endswith(b"}\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_that_is_missing_or_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for parent in ("missing", "file"):
        with pytest.raises(OutputError, match=r"run\.json"):
            write(SAMPLE, tmp_path / parent / "run.json")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write(SAMPLE, path)
    old = path.read_bytes()
    real = Path.write_bytes

    def full_disk(place: Path, data: bytes) -> int:
        real(place, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write(msgspec.structs.replace(SAMPLE, ttft_s=9.0), path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_record_is_told_in_a_line() -> None:
    assert (
        repr(Estimate(median=1.0, low=0.5, high=2.0)) == "Estimate(median=1.0, low=0.5, high=2.0)"
    )
    assert repr(records.PairedRatio(median=1.0, low=1.0, high=1.0, pairs=[1.0])).endswith(", …)")
    report = msgspec.convert(_report(), MachineReport)
    assert repr(report) == "MachineReport(machine='c')"  # a record in it by its name
    assert repr(records.Doubt(about="x" * 99, sentence="\x1b", remedy="")) == (
        f"Doubt(about='{'x' * 58}…, sentence='\\x1b', remedy='')"
    )
