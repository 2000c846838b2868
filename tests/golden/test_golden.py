"""Every command writes what is recorded: the JSON, the terminal's text, the page."""

import difflib
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from topout.records import Climb, RunReport

from .commands import CASES, Case, Recorded, forms_of, lay_out_inputs
from .page_text import page_text
from .record import RECORDS, place
from .rendering import page_html, read_record
from .steady import steady_text

pytestmark = pytest.mark.seconds(60)

_MOST_LINES = 60


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    lay_out_inputs(folder)
    return folder


def difference(recorded: Path, now: str) -> str:
    """A short unified diff; empty where nothing changed."""
    before = recorded.read_text(encoding="utf-8") if recorded.exists() else ""
    if before == now:
        return ""
    lines = list(
        difflib.unified_diff(
            before.splitlines(),
            now.splitlines(),
            f"recorded {recorded.name}",
            "now",
            lineterm="",
            n=1,
        )
    )
    more = [f"… and {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else []
    return "\n".join([*lines[:_MOST_LINES], *more])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_output_is_as_recorded(case: Case, inputs: Path) -> None:
    outputs = case.outputs(inputs)
    found = [difference(place(case, form), now) for form, now in outputs.items()]
    lost = {path.name for path in RECORDS.glob(f"{case.slug}.*")}
    lost -= {place(case, form).name for form in outputs}
    changed = "\n".join([*filter(None, found), *(f"no longer written: {name}" for name in lost)])
    if changed:
        pytest.fail(f"{case.slug} (see tests/golden/__init__.py)\n{changed}", pytrace=False)


def test_every_record_belongs_to_a_command() -> None:
    slugs = [case.slug for case in CASES]
    assert len(set(slugs)) == len(slugs)
    recorded = {path.name.split(".")[0] for path in RECORDS.iterdir()}
    assert recorded == set(slugs)


def test_a_changed_figure_is_seen_in_every_form() -> None:
    case = Recorded("run-example")
    record = read_record(case.path)
    assert isinstance(record, RunReport)
    result = replace(record.result, peak_memory_bytes=2 * record.result.peak_memory_bytes)
    for form, text in forms_of(replace(record, result=result)).items():
        assert "400" in difference(place(case, form), text)  # MiB, or the bytes
        assert "800" in difference(place(case, form), text)


def test_a_changed_chart_is_seen() -> None:
    case = Recorded("climb-example")
    record = read_record(case.path)
    assert isinstance(record, Climb)
    first, *others = record.rungs
    fewer = replace(record, rungs=[replace(first, samples=first.samples[1:]), *others])
    assert "\n-[chart runs: " in difference(place(case, "page.txt"), forms_of(fewer)["page.txt"])


def test_a_page_with_its_pictures_reads_the_same() -> None:
    case = Recorded("run-example")
    record = read_record(case.path)
    html = page_html(record)
    assert html is not None and "window.vegaEmbed" in html
    charts = html.count('data-chart="')
    assert charts == len(re.findall(r'data-chart="[^"]*"><svg', html)) == 3
    json = case.path.read_text()
    now = steady_text(page_text(html, json), json)
    assert difference(place(case, "page.txt"), now) == ""
