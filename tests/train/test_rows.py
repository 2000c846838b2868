"""Rows out of files: what was written comes back, and a bad row is named by its line."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topout.errors import InputError, UnsupportedError
from topout.train.rows import read_rows

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)
rows_strategy = st.lists(st.tuples(texts, st.integers(0, 9)), min_size=1, max_size=8)
relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(rows=rows_strategy)
def test_json_lines_come_back(rows: list[tuple[str, int]], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    read = read_rows(path, "text", "label")
    assert read.texts == [text for text, _ in rows]
    assert read.labels == [str(label) for _, label in rows]


@relaxed
@given(rows=rows_strategy)
def test_csv_comes_back_with_quotes_and_new_lines(
    rows: list[tuple[str, int]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *((label, text) for text, label in rows)])
    assert read_rows(path, "text", "label").texts == [text for text, _ in rows]


def test_parquet_comes_back_and_a_null_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"text": ["a", None, "c"], "label": [0, 1, 2]}).write_parquet(path)
    with pytest.raises(InputError, match=r"1 bad row: row 2: `text` is empty"):
        read_rows(path, "text", "label")
    read = read_rows(path, "text", "label", skip_bad_rows=True)
    assert (read.texts, read.labels) == (["a", "c"], ["0", "2"])


def test_a_text_file_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("one\ntwo\n")
    assert read_rows(path, "text", None).texts == ["one\ntwo\n"]
    with pytest.raises(InputError, match="has no labels"):
        read_rows(path, "text", "label")
    path.write_bytes(b"one\ntw\xffo\n")
    with pytest.raises(InputError, match=r"line 2: not UTF-8"):
        read_rows(path, "text", None)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"text": "a", "label": 1', "not valid JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"text": "a"}', "no `label` among `text`"),
        ('{"text": " ", "label": 1}', "`text` is empty"),
        ('{"text": 5, "label": 1}', "`text` is no text"),
        ('{"text": "a", "label": 1.5}', "`label` is no text or whole number"),
        ('{"text": "a", "label": true}', "`label` is no text or whole number"),
        ('{"text": "a", "label": null}', "`label` is empty"),
    ],
)
def test_a_bad_json_line_is_named(line: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = '{"text": "a", "label": 1}'
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(InputError) as caught:
        read_rows(path, "text", "label")
    assert "line 3: " in str(caught.value) and fault in str(caught.value)
    read = read_rows(path, "text", "label", skip_bad_rows=True)
    assert len(read.texts) == 2 and len(read.faults) == 1


def test_a_csv_row_is_named_by_the_line_that_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"two\nlines",1\nshort\nfine,2\n')
    with pytest.raises(InputError, match=r"line 4: 1 cells under 2 columns"):
        read_rows(path, "text", "label")
    assert read_rows(path, "text", "label", skip_bad_rows=True).texts == ["two\nlines", "fine"]
    path.write_bytes(b"text,label\nfine,1\nb\xff,2\n")
    with pytest.raises(InputError, match=r"line 3: not UTF-8"):
        read_rows(path, "text", "label")


def test_many_faults_are_counted_and_three_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("nonsense\n" * 9)
    with pytest.raises(InputError, match=r"9 bad rows: line 1: .*line 3: .*; and 6 more\."):
        read_rows(path, "text", "label")
    with pytest.raises(InputError, match="no row that can be used"):
        read_rows(path, "text", "label", skip_bad_rows=True)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"\.pkl is of no format"):
        read_rows(tmp_path / "rows.pkl", "text", None)
    with pytest.raises(InputError, match="cannot read"):
        read_rows(tmp_path / "none.jsonl", "text", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match="is not a Parquet file"):
        read_rows(tmp_path / "rows.parquet", "text", None)
