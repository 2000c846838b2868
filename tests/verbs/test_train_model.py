"""`train_model`: a small model over one rank and two, and what becomes of a rank that fails."""

import json
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.models.tiny import GPT2, write_model
from tests.report.example_climb import example_machine
from topout.errors import InputError, TopoutError, UnsupportedError
from topout.records import TrainReport, read
from topout.run_folder import RunFolder
from topout.train.plan import DEFAULT_BUILDER, TrainRequest
from topout.verbs import train_subject
from topout.verbs.train_model import train_model
from topout.verbs.train_subject import empty_report, resolve_subject

pytestmark = pytest.mark.seconds(40)

Result = tuple[TrainReport, RunFolder]
# One layer of width 48 is enough, and no dropout, so that a few steps teach something.
SMALL = {**GPT2, "n_layer": 1, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", SMALL))


@pytest.fixture(scope="module")
def result(model: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A classifier over one rank and two, run once for all tests that look at it."""
    folder = tmp_path_factory.mktemp("train")
    rows = [
        json.dumps({"text": f"{word} {number}" * 3, "label": word})
        for number in range(20)
        for word in ("good", "bad")
    ]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOPOUT_HOME", str(folder / "runs"))
        patch.setenv("TOPOUT_CACHE", str(folder / "cache"))
        request = TrainRequest(
            model=model,
            data=folder / "rows.jsonl",
            task="classify",
            ranks=[1, 2],
            steps=12,
            batch_size=4,
            sequence_len=24,
            learning_rate=3e-3,
            threads=1,
        )
        return train_model(request)


def test_every_case_is_done_and_on_disk(result: Result) -> None:
    report, folder = result
    assert [(case.ranks, case.status) for case in report.cases] == [(1, "done"), (2, "done")]
    assert read(folder.path / "run.json", TrainReport) == report
    assert not folder.scratch.exists()


def test_the_loss_goes_down_on_one_rank_and_on_two(result: Result) -> None:
    for case in result[0].cases:
        assert len(case.loss) == 12
        assert sum(case.loss[-3:]) < 0.7 * sum(case.loss[:3])


def test_the_ranks_stay_in_step(result: Result) -> None:
    alone, two = result[0].cases
    assert two.weights_agree is True and alone.weights_agree is None
    assert two.backend == "gloo" and alone.backend is None
    assert len(two.times) == 2 and all(time.step_s > 0 for time in two.times)


def test_the_collectives_carry_every_parameter_once_a_step(result: Result) -> None:
    report = result[0]
    two = report.cases[1]
    assert report.model.parameters is not None and two.parameters == report.model.parameters
    assert two.gradient_bytes == 4 * report.model.parameters
    assert two.collective_bytes_per_step == pytest.approx(two.gradient_bytes, rel=0.01)
    assert two.communication is not None
    sent = {(each.source, each.destination): each.bytes for each in two.communication.transfers}
    # A ring of two: each sends 2·(2 − 1)/2 of the gradients, in each of 2 profiled steps.
    expected = 2 * two.gradient_bytes
    assert set(sent) == {(0, 1), (1, 0)}
    assert all(value == pytest.approx(expected, rel=0.01) for value in sent.values())


def test_the_traces_are_where_the_record_says(result: Result) -> None:
    report, folder = result
    for case in report.cases:
        for rank, times in enumerate(case.times):
            assert times.trace is not None and times.trace.endswith(f"rank-{rank}.pt.trace.json.gz")
            assert (folder.path / times.trace).stat().st_size > 1000


def test_measured_memory_stands_beside_the_predicted(result: Result) -> None:
    """Weights, gradients and AdamW's moments of every parameter in fp32, and what comes on top."""
    for case in result[0].cases:
        predicted, parameters = case.predicted_memory, case.parameters
        assert predicted is not None and parameters is not None
        assert predicted.weights_bytes == predicted.gradients_bytes == 4 * parameters
        assert predicted.optimizer_bytes == 8 * parameters
        for time in case.times:
            assert time.memory_before_bytes and time.unprofiled_peak_bytes
            assert time.memory_before_bytes < time.unprofiled_peak_bytes <= time.peak_memory_bytes


def test_communication_is_compared_with_passes_without_it(result: Result) -> None:
    alone, two = result[0].cases
    assert alone.times[0].exposed_communication_s is None
    assert all(time.exposed_communication_s is not None for time in two.times)
    assert len(two.backward_without_sum_s) == 5


def test_work_rates_and_speedup_are_there(result: Result) -> None:
    alone, two = result[0].cases
    assert alone.flops_per_sample == two.flops_per_sample is not None
    assert two.speedup is not None and two.parallel_efficiency == two.speedup.median / 2
    assert two.flops_per_s is not None and two.flops_per_s > 0
    assert "topout machine" in two.reasons["mfu_of_ceiling"]


def small(**options: object) -> TrainRequest:
    fields = {
        "model": "pycode-1m",
        "generated": True,
        "task": "classify",
        "ranks": [2, 4],
        "steps": 40,
        "batch_size": 2,
        "sequence_len": 8,
        "threads": 1,
    }
    return TrainRequest(**{**fields, **options})  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def test_a_rank_that_dies_ends_the_case_and_what_was_done_is_kept(home: Path) -> None:
    report, folder = train_model(small(), builder="tests.train.tiny_network:build_failing")
    failed, skipped = report.cases
    assert (failed.status, skipped.status) == ("failed", "skipped")
    assert failed.reason == "rank 1 ended with exit status 1."
    assert failed.log == "logs/2-ranks/rank-1.log"
    assert "the sky is falling on rank 1" in (folder.path / failed.log).read_text()
    assert skipped.reason == "The case with 2 ranks failed before."
    # The fifth forward pass fails on rank 1: four steps were done.
    assert len(failed.loss) == 4
    assert read(folder.path / "run.json", TrainReport) == report
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sequence_len": 9999}, InputError, "--sequence-len 9999 is more than the"),
        ({"threads": 9999}, InputError, "--threads 9999"),
        ({"generated": False, "data": Path("none.csv")}, InputError, "no file none.csv"),
        ({"ranks": [99], "device": "cuda"}, UnsupportedError, "GPU for each of 99 ranks"),
        ({"model": "bert-base", "random_weights": True, "task": "lm"}, TopoutError, "encoder"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_rank_starts(
    options: dict[str, object], error: type[TopoutError], words: str
) -> None:
    with pytest.raises(error, match=words):
        resolve_subject(small(**options), "unused:unused")


def test_an_encoder_learns_to_classify_by_default() -> None:
    request = small(model="distilbert-base-uncased", random_weights=True, task=None)
    assert resolve_subject(request, "unused:unused").task == "classify"


@pytest.mark.parametrize(
    ("isa", "asked", "precision"),
    [
        (["amx_bf16"], None, ("bf16", "as published")),
        (["amx_bf16"], "fp32", ("fp32", "as asked; published in bf16")),
        (["avx2"], None, ("fp32", "published in bf16, for which this CPU has no unit")),
        (["avx2"], "bf16", ("bf16", "as asked")),
    ],
)
def test_it_computes_in_what_was_published(
    isa: list[str],
    asked: Any,
    precision: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = msgspec.structs.replace(example_machine(), vector_isa=isa)
    monkeypatch.setattr(train_subject, "describe", lambda: machine)
    folder = write_model(tmp_path / "tiny", SMALL | {"torch_dtype": "bfloat16"})
    request = TrainRequest(model=str(folder), generated=True, sequence_len=8, dtype=asked)
    subject = resolve_subject(request, DEFAULT_BUILDER)
    work = empty_report(subject, []).workload
    assert (work.dtype, work.dtype_origin) == precision
