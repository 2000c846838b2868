"""The commands whose output is recorded, and how each is made to write it again."""

import contextlib
import io
import os
import shutil
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from topout import records
from topout.cli import main
from topout.records import Record

from .page_text import page_text
from .rendering import csv_text, markdown_text, page_html, quick_pages, read_record, terminal_text
from .steady import steady_csv, steady_json, steady_text

INPUTS = Path(__file__).parent / "inputs"
FORMATTED = (
    *("climb-markup", "gemm-example", "machine-example", "profile-example", "run-gemm-example"),
    *("trace-markup", "train-two-ranks"),
)
"""Commands that measure, of which Markdown and CSV are recorded too."""
WIDTHS = (80, 120)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that measures nothing, run from the command line's entry."""

    slug: str
    line: str  # what follows `topout`, as typed
    json: bool = True  # whether the JSON is recorded
    page: bool = True
    widths: Sequence[int] = WIDTHS
    formats: bool = False  # whether Markdown and CSV are recorded

    def outputs(self, folder: Path) -> dict[str, str]:
        """Its forms by the ending of their files; `folder` holds the inputs and takes the rest."""
        found: dict[str, str] = {}
        json, page = folder / "out.json", folder / "out.html"
        more = ["--json", str(json)] if self.json or self.page else []
        more += ["--report", str(page)] if self.page else []
        for path in (json, page):
            path.unlink(missing_ok=True)  # of the command before
        record = ""
        for width in self.widths:
            status, text, error = typed([*self.line.split(), *more], folder, width)
            assert status == 0, error
            if more:
                record = json.read_text()
            found[f"{width}.txt"] = steady_text(text, record)
            more = []
        if self.json:
            found["json"] = steady_json(record)
        if self.page:
            found["page.txt"] = steady_text(page_text(page.read_text(), record), record)
        if self.formats:
            markdown, csv = (self._formatted(form, folder) for form in ("markdown", "csv"))
            found |= {"md": steady_text(markdown, record), "csv": steady_csv(csv)}
        return found

    def _formatted(self, form: str, folder: Path) -> str:
        line = [*self.line.split(), "--format", form]
        status, text, error = typed(line, folder, WIDTHS[0])
        assert status == 0, error
        return text


@dataclass(frozen=True, slots=True)
class Recorded:
    """A command that measures: its record is an input, and is rendered."""

    slug: str

    @property
    def path(self) -> Path:
        return INPUTS / "records" / f"{self.slug}.json"

    def outputs(self, folder: Path) -> dict[str, str]:
        record = read_record(self.path)
        found = forms_of(record)
        if self.slug in FORMATTED:
            found["md"] = steady_text(markdown_text(record), found["json"])
            found["csv"] = steady_csv(csv_text(record))
        return found


@dataclass(frozen=True, slots=True)
class Refused:
    """Commands that are refused, each with its exit status and what it says on stderr."""

    slug: str
    lines: Sequence[str]

    def outputs(self, folder: Path) -> dict[str, str]:
        said = []
        for line in self.lines:
            status, _, error = typed(line.split(), folder, WIDTHS[0])
            said.append(f"$ topout {line}\n{error.rstrip()}\n[{status}]\n")
        return {"txt": "\n".join(said)}


Case = Command | Recorded | Refused


def forms_of(record: Record) -> dict[str, str]:
    """The JSON, the terminal's text and the page's text of a record."""
    json = records.encode(record).decode()
    found = {"json": json}
    for width in WIDTHS:
        found[f"{width}.txt"] = steady_text(terminal_text(record, width), json)
    with quick_pages():
        html = page_html(record)
    if html is not None:
        found["page.txt"] = steady_text(page_text(html, json), json)
    return found


def typed(arguments: Sequence[str], folder: Path, width: int) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `topout ARGUMENTS` in the folder.

    Nothing is measured and nothing of the user's is read: cache and runs are the folder's own.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, _environment(folder, width), clear=True),
        mock.patch("time.monotonic", return_value=0.0),  # what took how long
        mock.patch("time.perf_counter", return_value=0.0),
        mock.patch.object(sys, "argv", ["topout", *arguments]),
        mock.patch.object(sys.modules["__main__"], "__package__", None),  # else "python -m …"
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        quick_pages(),
    ):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
    return status, out.getvalue(), err.getvalue()


def lay_out_inputs(folder: Path) -> None:
    """Fill the folder with the files that commands read, and a database made of its statements."""
    shutil.copytree(INPUTS / "files", folder, dirs_exist_ok=True)
    script = (folder / "nsys_export.sql").read_text()
    with contextlib.closing(sqlite3.connect(folder / "nsys.sqlite")) as database:
        database.executescript(script)


def _environment(folder: Path, width: int) -> Mapping[str, str]:
    return {
        "COLUMNS": str(width),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
        "LINES": "50",
        "NO_COLOR": "1",
        "PATH": os.environ.get("PATH", os.defpath),
        "TOPOUT_CACHE": str(folder / "cache"),
        "TOPOUT_HOME": str(folder / "runs"),
    }


_VERBS = (
    *("machine", "machine list", "machine show", "machine save"),
    *("cost", "cost list", "cost layers", "cost check", "cost example"),
    *("run", "profile", "climb", "generate", "gemm", "trace", "trace diff", "trace runs", "train"),
)

CASES: tuple[Case, ...] = (
    Command("help", "--help", False, False, (80,)),
    *(
        Command(
            f"help-{verb.replace(' ', '-')}", f"{verb} --help", json=False, page=False, widths=(80,)
        )
        for verb in _VERBS
    ),
    Command("machine-list", "machine --list", json=False, page=False, formats=True),
    Command("machine-show-gpu", "machine --show h100-sxm", page=False),
    Command("machine-show-cpu", "machine --show xeon-platinum-8480plus", page=False),
    Command("cost-list", "cost --list", json=False, page=False),
    Command("cost-gpt2", "cost gpt2 --on t4 --dtype fp16", formats=True),
    Command("cost-gpt2-full", "cost gpt2 --on t4 --dtype fp16 --full", json=False, page=False),
    Command("cost-no-machine", "cost distilgpt2"),
    Command("cost-llama-published", "cost llama-2-7b --on a100-80gb", page=False),
    Command(
        "cost-llama-machines",
        "cost llama-2-7b --on a100-80gb --on mi300x --on apple-m2-ultra --dtype bf16",
        json=False,
    ),
    Command(
        "cost-llama-quantized",
        "cost llama-3.1-8b --on l4 --quantize int4-g128 --kv-dtype int8 "
        "--dtype bf16 --context-len 32768",
        page=False,
    ),
    Command(
        "cost-llama-parallel",
        "cost llama-3-70b --on h100-sxm --tp 8 --dtype bf16 --batch-size 4",
        page=False,
    ),
    Command(
        "cost-training-parallel",
        "cost gpt2-medium --on a100-40gb --dp 4 --tp 2 --pp 2 --recompute full --batch-size 8 "
        "--dtype bf16",
    ),
    Command("cost-mixtral", "cost mixtral-8x7b --on b200 --quantize fp8 --dtype bf16", page=False),
    Command("cost-bert", "cost bert-base-uncased --on v100-16gb --batch-size 8 --dtype fp16"),
    Command("cost-own-files", "cost own-model --on machine.json --dtype bf16 --prompt-len 100"),
    Command("cost-t5", "cost t5-base --on l4 --dtype bf16", json=False, page=False),
    Command(
        "cost-vit", "cost vit-base-patch16-224 --on t4 --image-size 384", json=False, page=False
    ),
    Command(
        "cost-resnet",
        "cost resnet-50 --on h100-pcie --batch-size 32 --full",
        json=False,
        page=False,
    ),
    Command(
        "cost-gemma",
        "cost gemma-2-9b --on l4 --dtype bf16 --context-len 8192",
        json=False,
        page=False,
    ),
    Command("cost-moe", "cost qwen3-30b-a3b --on mi300x --dtype bf16", json=False, page=False),
    Command("cost-layers", "cost distilgpt2 --layers --depth 3"),
    Command("cost-layers-expanded", "cost pycode-1m --layers --expand --dtype bf16", json=False),
    Command("cost-layers-vision", "cost resnet-18 --layers --depth 2", json=False),
    Command("cost-check", "cost bundled --check", page=False),
    Command("cost-check-encoder", "cost bert-base-uncased --check --prompt-len 16", page=False),
    Command(
        "cost-eager-cpu",
        "cost gpt2 --on xeon-e3-1270-v2 --mode eager --dtype fp32",
        json=False,
        page=False,
    ),
    Command("cost-example-axpy", "cost --example axpy --on a100-40gb"),
    Command("cost-example-stencil", "cost --example stencil --n 512 --on h200 --on apple-m1"),
    Command("cost-example-matmul", "cost --example matmul --n 1024 --on xeon-e3-1270-v2"),
    Command("trace-kineto", "trace kineto.json"),
    Command("trace-kineto-old", "trace kineto-old.json.gz --groups coarse"),
    Command("trace-four-ranks", "trace four-ranks --top 3"),
    Command("trace-training-step", "trace training-step.json.gz"),
    Command("trace-nvprof", "trace distilgpt2-4.csv"),
    Command("trace-nvprof-old", "trace nvprof_cuda8.csv"),
    Command("trace-nvprof-peers", "trace nvprof_cuda11_peers.csv"),
    Command("trace-nvprof-summary", "trace nvprof_summary.csv"),
    Command("trace-nsight-csv", "trace nsys_gpu_trace.csv"),
    Command("trace-nsight-summary", "trace nsys_kern_sum.csv"),
    Command("trace-nsight-sqlite", "trace nsys.sqlite"),
    Command("trace-diff", "trace diff kineto.json kineto-slower.json", formats=True),
    Command("trace-runs", "trace runs distilgpt2-1.csv distilgpt2-2.csv distilgpt2-4.csv"),
    Refused(
        "refused",
        (
            "cost gpt9 --on h200",
            "cost gpt2 --on a100-80g",
            "cost gpt2 --on h200 --tp 7",
            "cost gpt2 --on h200 --quantize int2",
            "cost gpt2 --example axpy",
            "cost --example fft",
            "cost gpt2 --on missing.json",
            "machine --show h20",
            "machine --list --show h200",
            "trace missing.json",
            "trace nsys_export.sql",
            "trace diff kineto.json",
            "trace kineto.json --top 0",
            "climb gpt9",
            "climb --dtype fp8",
            "climb --rungs static_cach",
            "run --gemm tilled",
            "gemm --shape 12x",
            "train",
            "train --generated --task guess",
            "train --generated --ranks 0",
            "cost --no-such-option",
            "cost gpt2 --format csv --json -",
            "cost gpt2 --format xml",
            "machine --describe-only --format csv",
        ),
    ),
    *(Recorded(path.stem) for path in sorted((INPUTS / "records").glob("*.json"))),
)
