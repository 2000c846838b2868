"""The chart library: bundled once, kept, and made anew where what was kept is damaged."""

from pathlib import Path
from unittest import mock

import pytest

from topout.report import vega_bundle as module
from topout.report.vega_bundle import vega_bundle


@pytest.fixture
def bundler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> mock.Mock:
    """Counts how often the library is bundled; each process begins with an empty memory."""
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    made = mock.Mock(side_effect=lambda *_, **__: "bundle();'</script>'")
    monkeypatch.setattr(module.vl_convert, "javascript_bundle", made)
    vega_bundle.cache_clear()
    return made


def next_process() -> str:
    vega_bundle.cache_clear()
    return vega_bundle()


def test_it_is_made_once_for_all_pages_and_processes(bundler: mock.Mock) -> None:
    first = vega_bundle()
    assert first == "bundle();'<\\/script>'"  # it ends no <script>
    assert vega_bundle() == first == next_process() == next_process()
    assert bundler.call_count == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "not text", "another user's"])
def test_what_was_damaged_or_is_not_ours_is_made_anew(
    damage: str, bundler: mock.Mock, tmp_path: Path
) -> None:
    script = vega_bundle()
    (kept,) = (tmp_path / "page").iterdir()
    data = kept.read_bytes()
    changed = {
        "cut": data[:-1],
        "changed": data.replace(b"bundle", b"attack"),
        "not text": b"\xff" + data,
        "another user's": data,
    }
    kept.write_bytes(changed[damage])
    if damage == "another user's":
        kept.chmod(0o666)
    assert next_process() == script
    assert next_process() == script
    assert bundler.call_count == 2


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    bundler: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "whole_file", mock.Mock(side_effect=OSError("full")))
    assert vega_bundle() == next_process()
    assert bundler.call_count == 2


@pytest.fixture(autouse=True)
def forget() -> object:
    yield
    vega_bundle.cache_clear()
