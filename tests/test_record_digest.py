"""The digest in a record's file: what was edited since it was written is told, and nothing else."""

import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.golden.commands import INPUTS
from tests.report.cost.example_cost import decoder_report
from tests.report.example_climb import example_climb
from topout.machine.catalog.find import shipped_hardware
from topout.records import Climb, Record, encode, read, schema, write
from topout.records.record import DIGEST, decode, digest_of

WRITTEN = sorted((INPUTS / "records").glob("*.json"))


def saved(record: Record, folder: Path, **changes: Any) -> Path:
    """The file of a record, in which fields were changed by hand."""
    path = folder / "run.json"
    write(record, path)
    if changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_what_is_read_as_it_was_written_is_not_doubted(path: Path, tmp_path: Path) -> None:
    record = read(path)  # of an earlier version, without a digest
    assert DIGEST not in json.loads(path.read_text())
    again = tmp_path / "run.json"
    write(record, again)
    assert read(again) == record


def test_an_edited_figure_is_doubted(tmp_path: Path) -> None:
    climb = example_climb()
    edited = read(saved(climb, tmp_path, best="static_cache"), Climb)
    *before, doubt = edited.doubts
    assert (before, edited.best) == (climb.doubts, "static_cache")
    assert doubt.about == "record" and "edited since it was written" in doubt.sentence


def test_the_doubt_stays_and_comes_once(tmp_path: Path) -> None:
    edited = read(saved(example_climb(), tmp_path, best="static_cache"), Climb)
    assert read(saved(edited, tmp_path), Climb) == edited
    assert read(saved(edited, tmp_path, best="transformers_eager"), Climb).doubts == edited.doubts


def test_order_and_white_space_are_not_content(tmp_path: Path) -> None:
    path = saved(example_climb(), tmp_path)
    turned = dict(reversed(json.loads(path.read_text()).items()))
    path.write_text(json.dumps(turned, indent=7))
    assert read(path, Climb) == example_climb()


@pytest.mark.parametrize("digest", ["", "sha256:0", 7, ["sha256:0"], {}])
def test_a_digest_that_is_none_counts_as_edited(digest: Any, tmp_path: Path) -> None:
    edited = read(saved(example_climb(), tmp_path, digest=digest), Climb)
    assert [doubt.about for doubt in edited.doubts][-1] == "record"


def test_a_record_without_doubts_is_told_of_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(decoder_report(), tmp_path, created_at="yesterday")
    with caplog.at_level(logging.WARNING, "topout"):
        read(path)
    assert caplog.messages == [f"{path} was edited since it was written"]


def test_a_machine_is_written_by_people_and_has_none(tmp_path: Path) -> None:
    hardware = shipped_hardware("a100-80gb")
    path = saved(hardware, tmp_path, full_name="Mine")
    assert DIGEST not in json.loads(path.read_text())
    assert read(path) == msgspec.structs.replace(hardware, full_name="Mine")


def test_the_digest_is_of_every_field_and_only_of_the_file() -> None:
    text = encode(example_climb(), sealed=True)
    content = json.loads(text)
    stated = content.pop(DIGEST)
    assert stated == digest_of(content)
    assert DIGEST not in json.loads(encode(example_climb()))
    for key in content:
        assert digest_of({**content, key: "other"}) != stated
    assert decode(text, Climb) == example_climb()


@pytest.mark.parametrize("kind", ["climb", "trace", None])
def test_the_schema_allows_it(kind: str | None) -> None:
    jsonschema.validate(json.loads(encode(example_climb(), sealed=True)), schema("climb"))
    of_hardware = schema("hardware")["$defs"]["Hardware"]["properties"]
    assert DIGEST not in of_hardware
    assert all(
        DIGEST in each["properties"]
        for each in schema(kind)["$defs"].values()
        if "schema_version" in each.get("properties", {}) and each["title"] in ("Climb", "Trace")
    )
