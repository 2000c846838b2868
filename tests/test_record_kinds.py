"""Records by their own kind: what is read, what is refused by name, and the published schemas."""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import topout
from tests.cli.command_line import refused, run
from tests.golden.commands import INPUTS
from topout import records
from topout.errors import RecordError
from topout.records import Record, encode, read, schema
from topout.records.kinds import KINDS, class_of

WRITTEN = sorted((INPUTS / "records").glob("*.json"))
GOLDEN = sorted((INPUTS.parent / "records").glob("*.json"))


def _tagged(base: type[Record]) -> dict[str, type[Record]]:
    """By kind the classes below `base` whose files state it."""
    found = {}
    for each in base.__subclasses__():
        if each.__struct_config__.tag and each.__module__.startswith("topout.records."):
            found[str(each.__struct_config__.tag)] = each
        found |= _tagged(each)
    return found


def test_kinds_are_those_of_the_records() -> None:
    """A record with a kind that is missing from the table is noticed."""
    for module in pkgutil.iter_modules(records.__path__):
        importlib.import_module(f"topout.records.{module.name}")
    assert {kind: class_of(kind) for kind in KINDS} == _tagged(Record)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_record_is_read_by_its_own_kind(path: Path) -> None:
    record = topout.read(path)
    assert type(record) is class_of(json.loads(path.read_text())["kind"])
    assert read(str(path), type(record)) == record


def _changed(path: Path, folder: Path, **fields: Any) -> Path:
    changed = {**json.loads(path.read_text()), **fields}
    written = folder / "changed.json"
    written.write_text(json.dumps({name: each for name, each in changed.items() if each != ...}))
    return written


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "climbs"}, ["is of kind 'climbs'", "Did you mean 'climb'?"]),
        ({"kind": "compare"}, ["is of kind 'compare', which this topout does not know"]),
        ({"kind": ...}, ["is of kind None", "Known are climb, climb-forecast"]),
        ({"kind": ["climb"]}, ["is of kind ['climb']"]),
        ({"schema_version": 2}, ["has schema_version 2, and this topout reads 1"]),
        ({"schema_version": 2, "kind": "new"}, ["has schema_version 2, and this topout reads 1"]),
        ({"schema_version": ...}, ["has no field `schema_version`"]),
        ({"more": 1}, ["more"]),
        ({"findings": 7}, ["findings"]),
    ],
)
def test_what_is_no_record_of_this_topout_is_refused_by_name(
    fields: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    path = _changed(WRITTEN[0], tmp_path, **fields)
    with pytest.raises(RecordError) as refusal:
        topout.read(path)
    assert all(word in str(refusal.value) for word in ["changed.json", *words])


@pytest.mark.parametrize("text", ["[]", "7", '"climb"', "null", "{", ""])
def test_other_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"other\.json"):
        topout.read(path)
    with pytest.raises(RecordError, match="cannot read"):
        topout.read(tmp_path / "none.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_and_says_what_must_be_there(kind: str) -> None:
    found = schema(kind)
    jsonschema.Draft202012Validator.check_schema(found)
    definition = found["$defs"][class_of(kind).__name__]
    assert definition["properties"]["kind"] == {"enum": [kind]}
    assert {"kind", "schema_version"} <= set(definition["required"])
    assert definition["additionalProperties"] is False and definition["description"]


@pytest.mark.parametrize(
    "path", [*WRITTEN, *GOLDEN], ids=lambda path: f"{path.parent.parent.name}-{path.stem}"
)
def test_what_verbs_write_fits_the_schema_of_its_kind_and_of_any(path: Path) -> None:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        pytest.skip("a list of records, which states no kind")
    for each in (schema(found["kind"]), schema()):
        jsonschema.Draft202012Validator(each).validate(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "cost"},
        {"schema_version": 2},
        {"schema_version": ...},
        {"findings": "none"},
        {"more": 1},
        {"machine": ...},
    ],
)
def test_what_read_refuses_does_not_fit_the_schema(fields: dict[str, Any], tmp_path: Path) -> None:
    path = _changed(next(each for each in WRITTEN if "climb" in each.name), tmp_path, **fields)
    found = json.loads(path.read_text())
    assert not jsonschema.Draft202012Validator(schema("climb")).is_valid(found)
    assert not jsonschema.Draft202012Validator(schema()).is_valid(found)
    with pytest.raises(RecordError):
        topout.read(path, topout.Climb)


def test_the_command_prints_the_schema(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (None, "trace-diff"):
        status, out, err = run(["schema", *filter(None, [kind])], monkeypatch, capsys)
        assert status == 0 and err == "" and json.loads(out) == schema(kind)
    assert "Choose climb, climb-forecast" in refused(["schema", "climbs"], monkeypatch, capsys)
    with pytest.raises(RecordError, match="there is no kind 'climbs'"):
        topout.schema("climbs")


def test_what_is_read_is_what_is_written() -> None:
    for path in WRITTEN:
        assert json.loads(encode(topout.read(path))) == json.loads(path.read_text())
