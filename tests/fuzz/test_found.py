"""What the corrupted inputs found, each as the least input of its kind."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.fuzz import seeds
from tests.fuzz.target import Seed
from tests.report.cost.example_cost import decoder_report
from tests.report.layers.example_layers import example_report
from tests.report.run.example_run import example_run
from topout import units
from topout.errors import InputError, RecordError, TopoutError, WeightsError
from topout.ladder.state import ClimbFolder
from topout.models.source import resolve_model
from topout.models.text import load_tokenizer
from topout.options import MOST_WHOLE
from topout.profiling.request import ProfileRequest
from topout.report import describe
from topout.report.graph.insides import insides
from topout.report.main_table import to_frame
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_traces
from topout.verbs.cost_request import CostRequest


def written(seed: Seed, folder: Path, **changed: bytes) -> Path:
    """The folder of a seed, in which the damaged file holds something else."""
    for name, data in {**seed.files, **changed}.items():
        (folder / name).write_bytes(data)
    return folder


def test_events_without_a_name_are_examples_of_no_group(tmp_path: Path) -> None:
    event = {"ph": "X", "cat": "kernel", "pid": 0, "tid": 7, "ts": 1, "dur": 2000}
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": [event, event | {"ts": 9000}]}))
    report = analyse(read_traces([tmp_path / "t.json"]), load_rules())
    assert report.ranks[0].groups[0].examples == [""]


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_that_no_float_holds_is_out_of_range(value: int) -> None:
    assert value > MOST_WHOLE or value < 0
    for ask in (
        lambda: CostRequest(batch_size=value),
        lambda: ProfileRequest(repeats=value),
        lambda: ProfileRequest(seed=value),
    ):
        with pytest.raises(InputError, match="out of range"):
            ask()


@pytest.mark.parametrize("banner", ["18446744073709551616", "9223372036854775808", "9" * 400])
def test_a_process_that_no_system_has_is_not_known(banner: str, tmp_path: Path) -> None:
    text = (seeds.FILES / "nvprof_cuda8.csv").read_text()
    (tmp_path / "t.csv").write_text(f"=={banner}== NVPROF is profiling\n{text}")
    assert read_traces([tmp_path / "t.csv"])[0].events.height


def test_a_device_of_too_many_digits_has_no_number(tmp_path: Path) -> None:
    text = "Start (ns),Duration (ns),Device,Strm,Name\n1,20,GPU (99999999999999999999),7,k\n"
    (tmp_path / "t.csv").write_text(text)
    (trace,) = read_traces([tmp_path / "t.csv"])
    assert trace.events["device"].to_list() == [0]


@pytest.mark.parametrize("request_json", [b'{"model": "\xed"}', b'{"seed": 1e400}', b"["])
def test_a_damaged_request_is_told(request_json: bytes, tmp_path: Path) -> None:
    (seed, _) = seeds.climbs()
    folder = written(seed, tmp_path, **{"request.json": request_json})
    with pytest.raises(RecordError):
        ClimbFolder(folder).load_request()


def test_an_index_that_names_what_no_file_can_be_called(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "x" * 300 + ".safetensors"}}).encode()
    folder = written(seeds.weights()[1], tmp_path, **{"model.safetensors.index.json": index})
    with pytest.raises(WeightsError, match="is missing"):
        resolve_model(str(folder))


def test_a_graph_that_names_what_is_not_there_is_drawn_without_it() -> None:
    report = example_report()
    assert report.graph is not None
    root = report.graph.root
    children = [msgspec.structs.replace(each, inputs=["^99"]) for each in root.children]
    damaged = msgspec.structs.replace(root, children=children)
    assert insides(msgspec.structs.replace(report.graph, root=damaged))


def test_a_tokenizer_that_fails_at_its_text_is_told(tmp_path: Path) -> None:
    seed = seeds.tokenizers()[1]
    whole = json.loads(seed.files["tokenizer.json"])
    del whole["model"]["vocab"]["[UNK]"]
    folder = written(seed, tmp_path, **{"tokenizer.json": json.dumps(whole).encode()})
    tokenizer = load_tokenizer(resolve_model(str(folder), random_weights=True))
    for ask in (tokenizer.encode, lambda text: tokenizer.encode_sequence(text, 8)):
        with pytest.raises(TopoutError, match=r"is not a tokenizer .*UNK"):
            ask("other")


def test_whole_numbers_of_more_than_63_bits_make_a_column_of_floats() -> None:
    report = decoder_report()
    ops = [msgspec.structs.replace(each, flops=10**20) for each in report.machines[0].ops[:1]]
    changed = msgspec.structs.replace(report.machines[0], ops=ops)
    frame = to_frame(msgspec.structs.replace(report, machines=[changed]))
    assert frame["flops"].to_list() == [1e20]


def test_a_time_of_zero_gives_no_rate() -> None:
    assert (units.rate(6.0, 2.0), units.rate(6.0, 0.0)) == (3.0, None)
    assert units.seconds(float("inf")) == "inf s"
    run = example_run()
    (result,) = run.results
    none = msgspec.structs.replace(result.prefill.time_s, median=0.0)
    prefill = msgspec.structs.replace(result.prefill, time_s=none)
    changed = msgspec.structs.replace(result, prefill=prefill)
    assert describe(msgspec.structs.replace(run, result=changed))
