"""The course: its commands run, its figures are what they print, its notebook runs offline."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import topout
from tests.cli.command_line import run
from tests.conftest import REPOSITORY
from tests.distribution import outside
from tests.documented_commands import commands_in, parses, words_of
from topout.machine.catalog.find import find_hardware

pytestmark = pytest.mark.seconds(20)

COURSE = REPOSITORY / "docs" / "course"
EXERCISES = sorted(COURSE.glob("[0-9]-*.md"))
NOTEBOOK = COURSE / "counting.ipynb"
TRACES = [f"tests/golden/inputs/files/distilgpt2-{devices}.csv" for devices in (1, 2, 4)]

RUN_CELLS = """
import ast, json, sys

names = {}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), names)
        if last is not None:  # what a notebook shows
            shown = eval(compile(ast.Expression(last.value), cell["id"], "eval"), names)
            assert getattr(shown, "_repr_html_", shown.__repr__)()
assert "torch" not in sys.modules
"""


def _measures_nothing(line: str) -> bool:
    """Whether a command answers from its files and the catalog alone, in under a second or two."""
    words = words_of(line)
    if words[0] == "cost":
        is_example = words[1:2] == ["example"]
        is_answered = "--on" in words if is_example else words[1:2] != ["check"]
        return is_answered and "here" not in words
    return words[0] == "trace"


COMMANDS = [line for page in EXERCISES for line in commands_in(page)]
QUICK = sorted({line for line in COMMANDS if _measures_nothing(line)})


def test_six_exercises_stand_in_the_reading_order() -> None:
    """Each has the four parts, and a row in the README."""
    rows = re.findall(r"^\| (\d) \| \[[^]]+\]\(([^)]+)\)", (COURSE / "README.md").read_text(), re.M)
    assert rows == [(str(at), page.name) for at, page in enumerate(EXERCISES, 1)]
    assert len(EXERCISES) == 6
    for page in EXERCISES:
        text = page.read_text()
        parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert parts[-3:] == ["Do", "Hand in", "Expect"] and "**Question.**" in text
        assert len(commands_in(page)) >= 4 and all(parses(line) for line in commands_in(page))


@pytest.mark.parametrize("line", QUICK)
def test_commands_that_measure_nothing_run(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    words = words_of(line)
    for place, word in enumerate(words):
        if word.endswith((".html", ".svg")):
            words[place] = str(tmp_path / word)
    words = [str(REPOSITORY / word) if word.startswith("tests/") else word for word in words]
    status, out, err = run(words, monkeypatch, capsys)
    assert status == 0 and out, err


def _expects(number: int, figures: Mapping[str, Any]) -> None:
    """Each figure stands in the table "Expect" of an exercise."""
    text = EXERCISES[number - 1].read_text().split("## Expect")[1]
    for what, figure in figures.items():
        assert str(figure) in text, (what, figure)


def _cost(**request: Any) -> topout.CostReport:
    return topout.report_cost(topout.CostRequest(**request))


def test_the_figures_of_the_profile_are_counted() -> None:
    xeon = find_hardware("xeon-e3-1270-v2")
    machine = _cost(model="gpt2", prompt_len=835, dtype="fp32", on=[xeon.name]).machines[0]
    flops = {op.name: op.flops for op in machine.ops if op.phase == "prefill"}
    total = sum(flops.values())
    linear = sum(flops[name] for name in ("qkv", "attention_out", "mlp_up", "mlp_down", "head"))
    assert machine.prefill is not None and machine.prefill.bound == "compute"
    peak = next(each.spec_flops_per_s for each in xeon.compute if each.dtype == "fp32")
    _expects(
        1,
        {
            "FLOPs": f"{total / 1e9:.1f} G",
            "linear": f"{100 * linear / total:.0f} % in linear layers",
            "attention": f"{100 * flops['attention'] / total:.0f} % in attention",
            "predicted": f"about {machine.prefill.time_s:.1f} s",
            "MFU": f"{total / 1e9:.1f} G / 5.91 s / {peak / 1e9:.0f} GFLOP/s = "
            f"{100 * total / 5.91 / peak:.0f} %",
        },
    )


def test_the_figures_of_the_products_are_those_of_the_sources() -> None:
    """What the headers of the versions say was reached."""
    folder = REPOSITORY / "src" / "topout" / "kernels" / "gemm"
    figures = {}
    for name in ("naive", "loop_order", "packed", "simd", "threaded", "prepacked"):
        reached = re.search(r"2 threads: (\S+) GFLOP/s", (folder / f"{name}.cpp").read_text())
        assert reached is not None
        figures[name] = reached[1]
    _expects(2, {**figures, "FLOPs": f"{2 * 1024**3 / 1e9:.2f} G"})


def test_the_figures_of_the_roofline_are_those_of_the_examples() -> None:
    def intensity(name: str, traffic: str) -> float:
        found = topout.work_example(name, on=["a100-40gb"]).example.traffic
        return next(each.arithmetic_intensity for each in found if each.name == traffic)

    _expects(
        3,
        {
            "axpy": f"2/24 = {intensity('axpy', 'one pass'):.3f}",
            "no cache": f"7/64 = {intensity('stencil', 'no cache'):.2f}",
            "perfect cache": f"7/16 = {intensity('stencil', 'perfect cache'):.2f}",
            "write-allocate": f"7/24 = {intensity('stencil', 'stores read first'):.2f}",
            "crossover": f"16 × 312/1.5 = {16 * 312 / 1.5:.0f}",
        },
    )


def test_the_figures_of_the_count_are_counted() -> None:
    layers, width, vocabulary, s = 12, 768, 50257, 835
    cost = _cost(model="gpt2", prompt_len=s, context_len=963, dtype="fp32", on=["h200"])
    machine = cost.machines[0]
    decode, ops = machine.decode, [op for op in machine.ops if op.phase == "prefill"]
    assert decode is not None
    total = sum(op.flops for op in ops)
    small = sum(op.flops for op in ops if op.name in ("norms", "activation", "residuals"))
    block = 24 * s * width**2 * layers
    everything = block * (1 + s / (6 * width) + vocabulary / (12 * layers * width))
    _expects(
        4,
        {
            "parameters": f"{cost.model.parameters:,}",
            "FLOPs": f"{total / 1e9:.1f} G",
            "small ops": f"{100 * small / total:.2f} % of them",
            "formula": f"{everything / 1e9:.1f} G",
            "head": f"{2 * s * width * vocabulary / 1e9:.1f} G of it",
            "full attention": f"full attention {block * s / (6 * width) / 1e9:.1f} G",
            "KV cache": f"{cost.memory.kv_bytes_per_token:,} bytes",
            "decode bytes": f"{decode.bytes / 1e6:.0f} MB and {decode.flops / 1e6:.0f} MFLOP",
            "decode intensity": f"{decode.arithmetic_intensity:.2f} FLOP/byte",
        },
    )


def test_the_figures_of_the_traces_are_those_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))
    report, _ = topout.compare_runs([str(REPOSITORY / path) for path in TRACES])
    runs = report.runs
    groups = [sum(each.matrix_s for each in run.by_device) / run.busy_s for run in runs]
    finding = next(each for each in report.findings if "from 2 to 4 devices" in each)
    speedup, efficiency = re.findall(r"([\d.]+)×.*efficiency of (\d+) %", finding)[0]
    matrix = [f"{each.matrix_s:.1f}" for each in runs[2].by_device]
    _expects(
        5,
        {
            "wall": ", ".join(f"{run.wall_s:.1f} s" for run in runs),
            "moved": ", ".join(f"{100 * run.moving_share:.1f} %" for run in runs),
            "work": " and ".join(f"{run.work_ratio:.2f}" for run in runs[1:]),
            "scaling": f"{speedup} ×, efficiency {efficiency} %",
            "products": ", ".join(f"{100 * share:.0f} %" for share in groups),
            "by device": f"{', '.join(matrix[:3])} and {matrix[3]} s",
        },
    )


def test_the_figures_of_the_ladder_are_predicted() -> None:
    """A row each, beside what was published."""
    published = (23.17, {"mode": "eager"}), (104, {}), (133.07, {"quantize": "int8"})
    for tokens_per_s, choice in (*published, (250, {"tensor_parallel": 4})):
        request = {"model": "llama-2-7b", "dtype": "bf16", "on": ["a100-40gb"], **choice}
        machine = _cost(prompt_len=5, context_len=105, **request).machines[0]
        _expects(6, {str(choice): f"| {tokens_per_s} | {machine.decode_tokens_per_s:.1f} |"})


def test_the_notebook_runs_offline_without_torch(tmp_path: Path) -> None:
    """Its cells in order, as a kernel runs them, with what it shows made too."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_CELLS, str(NOTEBOOK)],
        cwd=tmp_path,
        env=outside(tmp_path, PYTHONPATH=str(REPOSITORY / "src"), HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "by hand 154.8 G, the program 154.8 G" in done.stdout


def test_a_sum_that_is_wrong_fails_the_notebook(tmp_path: Path) -> None:
    text = NOTEBOOK.read_text().replace("3 * DOUBLE", "2 * DOUBLE")
    (tmp_path / "wrong.ipynb").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RUN_CELLS, "wrong.ipynb"],
        cwd=tmp_path,
        env=outside(tmp_path, PYTHONPATH=str(REPOSITORY / "src")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "AssertionError" in done.stderr


def test_the_notebook_is_stored_without_outputs() -> None:
    found = json.loads(NOTEBOOK.read_text())
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    cells = found["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"execution_count", "outputs"}
            assert cell["outputs"] == [] and cell["execution_count"] is None
        assert set(cell) == wanted


def test_links_within_the_docs_lead_somewhere() -> None:
    """Of the course and of every other page: the file is there."""
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), (page.name, target)
