"""`topout cost` as a user types it."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import refused, run
from topout.records import CostReport, CountCheck, ExampleReport, decode
from topout.verbs import report_machine


@pytest.fixture(autouse=True)
def nothing_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no saved machines, a terminal of 80 columns."""
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


def test_a_machine_that_cannot_be_kept_is_refused_before_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object, **__: object) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr(report_machine, "measured_here", measure)
    assert "h200" in refused(["machine", "save", "h200"], monkeypatch, capsys)
    assert "'here'" in refused(["machine", "--save", "here"], monkeypatch, capsys)


def test_a_table_of_80_columns_with_a_column_for_each_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cost", "llama-2-7b", "--on", "a100-80gb", "--on", "h200", "--dtype", "bf16"]
    status, out, _ = run([*arguments, "--full"], monkeypatch, capsys)
    assert status == 0
    assert "a100-80gb" in out and "h200" in out and "mlp_up" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_json_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cost", "gpt2", "--on", "t4", "--dtype", "fp16", "--json", "-"]
    status, out, _ = run(arguments, monkeypatch, capsys)
    assert status == 0
    raw = json.loads(out)
    assert raw["kind"] == "cost" and raw["machines"][0]["decode"]["tpot_s"] > 0
    assert decode(out, CostReport).model.name == "gpt2"


def test_a_page_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, picture = tmp_path / "cost.html", tmp_path / "roof.svg"
    arguments = ["cost", "gpt2", "--on", "h200", "--dtype", "bf16"]
    arguments += ["--report", str(page), "--roofline", str(picture)]
    assert run(arguments, monkeypatch, capsys)[0] == 0
    text = page.read_text()
    assert "gpt2" in text and "h200" in text
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', text)  # works offline
    assert picture.read_text().startswith("<svg")


def test_the_list_of_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(["cost", "--list"], monkeypatch, capsys)
    assert status == 0
    for name in ("gpt2-xl", "t5-11b", "bert-large-uncased", "mixtral-8x7b", "resnet-50"):
        assert name in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_two_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["cost", "bundled", "--check", "--json", "-"], monkeypatch, capsys)
    assert status == 0 and decode(out, CountCheck).agrees


def test_an_example_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "axpy.html"
    arguments = ["cost", "--example", "axpy", "--on", "a100-40gb", "--report", str(page)]
    status, out, _ = run(arguments, monkeypatch, capsys)
    assert status == 0 and "0.0833" in out and page.stat().st_size > 10_000
    status, out, _ = run([*arguments, "--json", "-"], monkeypatch, capsys)
    assert decode(out, ExampleReport).measured is None


BAD = [
    (["cost", "gpt2", "--on", "a100-80g"], "a100-80gb"),
    (["cost", "gpt9", "--on", "h200"], "gpt2"),
    (["cost", "gpt2", "--on", "h200", "--batch-size", "-1"], "--batch-size -1"),
    (["cost", "gpt2", "--on", "h200", "--tp", "7"], "12 heads"),
    (["cost", "gpt2", "--on", "h200", "--quantize", "int5"], "int5"),
    (["cost", "--example", "fft"], "fft"),
    (["cost", "--example", "axpy", "--n", "-5", "--on", "h200"], "-5"),
    (["cost", "gpt2", "--example", "axpy"], "gpt2"),
    (["cost", "no/such/folder/at-all"], "no/such/folder"),
    (["cost", "gpt2", "--on", "missing.json"], "missing.json"),
    (["cost", "gpt2", "--on", "h200", "--json", "nowhere/x.json"], "nowhere"),
    (["cost", "gpt2", "--on", "h200", "--dtype", "fp16", "--roofline", "x.pdf"], "x.pdf"),
    (["machine", "--show", "h20"], "h200"),
    (["machine", "--save", "Not A Name"], "Not A Name"),
    (["machine", "--list", "--show", "h200"], "one at a time"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD)
def test_bad_input_is_one_line(
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert named in refused(arguments, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_head": 7}, "7 heads"),
        ({"n_embd": None}, "n_embd"),
        ({"n_layer": 0}, "n_layer"),
        ({"n_layer": -2}, "n_layer"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"model_type": "unheard"}, "unheard"),
    ],
)
def test_a_bad_config_names_its_field(
    change: dict[str, object],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config: dict[str, object] = {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 32,
        "vocab_size": 100,
    }
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert named in refused(["cost", str(tmp_path), "--on", "h200"], monkeypatch, capsys)


def test_cost_imports_no_torch() -> None:
    import subprocess

    code = (
        "import sys; sys.argv = ['topout', 'cost', 'llama-3-405b', '--on', 'h200']\n"
        "from topout.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_catalog_is_listed_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(["machine", "--list"], monkeypatch, capsys)
    assert status == 0 and "mi300x" in out and "xeon-e3-1270-v2" in out
    status, out, _ = run(["machine", "--show", "a100-40gb"], monkeypatch, capsys)
    assert status == 0 and "312" in out
    assert max(len(line) for line in out.splitlines()) <= 80
