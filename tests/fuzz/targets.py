"""Who reads what: each target asks what a verb asks of a folder of inputs, up to what it shows."""

import io
import struct
from pathlib import Path

from rich.console import Console

from tests.fuzz import mutators, seeds
from tests.fuzz.target import Target
from topout import records
from topout.gemm.source_constants import read_constants
from topout.gemm.sources import own_dtype
from topout.ladder.state import ClimbFolder
from topout.models.architectures.read import find_architecture
from topout.models.end_tokens import end_tokens
from topout.models.load import load_decoder
from topout.models.source import resolve_model, resolve_source
from topout.models.text import load_tokenizer
from topout.records import Record
from topout.report import describe
from topout.report.main_table import to_frame
from topout.report.to_terminal import to_terminal
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_traces
from topout.train.rows import read_rows
from topout.verbs.cost_request import CostRequest
from topout.verbs.report_cost import report_cost

GPU = "a100-80gb"


def shown(record: Record) -> str:
    """What a terminal shows of a record, which is written and made a table too."""
    records.encode(record)
    if type(record).__name__ not in ("Rates",):
        document = describe(record)
    else:
        return ""
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(to_terminal(document))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def ask_config(folder: Path) -> str:
    """`topout cost FOLDER --on GPU`, and what runs a decoder or an encoder."""
    text = shown(report_cost(CostRequest(model=str(folder), on=[GPU])))
    source = resolve_source(str(folder), random_weights=True)
    end_tokens(source)
    return text


def ask_weights(folder: Path) -> str:
    """What `topout run FOLDER` loads."""
    find_architecture(str(folder))
    load_decoder(resolve_model(str(folder)))
    return ""


def ask_header(folder: Path) -> str:
    """The same of weights whose header is damaged and whose size fits it."""
    header = (folder / "header.json").read_bytes()
    data = struct.pack("<Q", len(header)) + header + (folder / "data").read_bytes()
    (folder / "model.safetensors").write_bytes(data)
    return ask_weights(folder)


def ask_tokenizer(folder: Path) -> str:
    """What `topout generate FOLDER` makes of a text."""
    source = resolve_model(str(folder), random_weights=True)
    end_tokens(source)
    tokenizer = load_tokenizer(source)
    ids = tokenizer.encode("the them, \u00e9\U0001f600 then\n")
    tokenizer.encode_sequence("the other", 8)
    return tokenizer.decode(ids)


def ask_machine(folder: Path) -> str:
    """`topout cost --on FILE`."""
    return shown(report_cost(CostRequest(model="gpt2", on=[str(folder / "machine.json")])))


def ask_trace(folder: Path) -> str:
    """`topout trace FILE`, without its folder."""
    (path,) = folder.iterdir()
    return shown(analyse(read_traces([path]), load_rules()))


def ask_record(folder: Path) -> str:
    """`topout.read(FILE)`, its report and its data frame."""
    record = records.read(folder / "run.json")
    text = shown(record)
    if type(record).__name__ in TABLED:
        to_frame(record)
    return text


def ask_climb(folder: Path) -> str:
    """What `topout climb resume FOLDER` reads."""
    found = ClimbFolder(folder)
    found.load_request()
    climb = found.load()
    return "" if climb is None else shown(climb)


def ask_source(folder: Path) -> str:
    """What is read of a product's source before it is compiled."""
    path = folder / "my_gemm.cpp"
    return f"{own_dtype(path)} {sorted(read_constants(path, {}))}"


def ask_rows(folder: Path) -> str:
    """`topout train --data FILE`."""
    (path,) = folder.iterdir()
    label = None if path.suffix == ".txt" else "label"
    return str(len(read_rows(path, "text", label, skip_bad_rows=True).texts))


def ask_rules(folder: Path) -> str:
    """`topout trace --rules FILE`."""
    rules = load_rules(folder / "rules.toml")
    return rules.group_of("ampere_sgemm_128x64_tn") or ""


TABLED = ("Climb", "CostReport", "GemmReport", "RunReport", "TraceReport", "TrainReport")
TARGETS = [
    Target("config", seeds.configs, mutators.JSON, ask_config, f"cost {{folder}} --on {GPU}", 3),
    Target("weights", seeds.weights, mutators.BYTES, ask_weights, "cost {folder}", 2),
    Target("header", seeds.headers, mutators.JSON, ask_header, "", 2),
    Target("tokenizer", seeds.tokenizers, mutators.JSON, ask_tokenizer, "", 2),
    Target("machine", seeds.machines, mutators.RECORD, ask_machine, "cost gpt2 --on {file}", 2),
    Target("kineto", seeds.kineto, mutators.JSON, ask_trace, "trace {file}", 4),
    Target("lanes", seeds.lanes, mutators.JSON, ask_trace, "trace {file}", 3),
    Target("rocprofv3", seeds.rocprofv3, mutators.JSON, ask_trace, "trace {file}", 2),
    Target("nsys lines", seeds.nsys_lines, mutators.TEXT, ask_trace, "trace {file}", 2),
    Target("table", seeds.tables, mutators.TABLE, ask_trace, "trace {file}", 4),
    Target("database", seeds.databases, mutators.BYTES, ask_trace, "trace {file}", 3),
    Target("record", seeds.records, mutators.RECORD, ask_record, "", 4),
    Target("climb", seeds.climbs, mutators.RECORD, ask_climb, "climb resume {folder}", 2),
    Target("source", seeds.sources, mutators.TEXT, ask_source, ""),
    Target("rows", seeds.rows, mutators.TABLE, ask_rows, "", 2),
    Target("rules", seeds.rules, mutators.TEXT, ask_rules, ""),
]
