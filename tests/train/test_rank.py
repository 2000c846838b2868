"""One rank alone, in this process: its lines and its trace."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
import torch

from tests.train.test_plan import a_plan
from tests.train.tiny_network import PARAMETERS, seeded
from topout.errors import InputError
from topout.train.data import generated_classes, save_samples
from topout.train.distributed import Ranks
from topout.train.plan import Plan, RankDone, StepDone, read_lines
from topout.train.rank import run_rank, weights_digest


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    save_samples(generated_classes(40, 12, 64, seed=1), tmp_path / "samples")
    (tmp_path / "output").mkdir()
    return a_plan(
        samples=str(tmp_path / "samples"),
        output=str(tmp_path / "output"),
        traces=str(tmp_path / "traces"),
        threads=torch.get_num_threads(),
    )


def test_a_rank_tells_every_step_and_its_end(plan: Plan) -> None:
    run_rank(plan, Ranks())
    *steps, end = read_lines(Path(plan.output), 0)
    assert [step.step.number for step in steps if isinstance(step, StepDone)] == list(range(9))
    assert isinstance(end, RankDone)
    assert (end.parameters, end.gradient_bytes) == (PARAMETERS, 4 * PARAMETERS)
    assert end.backend is None and end.peak_memory_bytes > 1 << 20
    # The clock of a process ticks every 10 ms: of short steps it may not have moved.
    assert end.processor_utilization is not None and 0 <= end.processor_utilization <= 1


def test_the_trace_holds_the_profiled_steps_with_their_regions(plan: Plan) -> None:
    run_rank(plan, Ranks())
    trace = Path(plan.traces) / "rank-0.pt.trace.json.gz"
    with gzip.open(trace) as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    for region in ("ProfilerStep#7", "ProfilerStep#8", "data", "forward", "backward", "optimizer"):
        assert region in names
    # The step in which the profiler warms up is not in it.
    assert "ProfilerStep#6" not in names and names.count("forward") == 2


def test_without_profiled_steps_there_is_no_trace(plan: Plan, tmp_path: Path) -> None:
    run_rank(msgspec.structs.replace(plan, profiled_steps=0), Ranks())
    assert not (tmp_path / "traces").exists()


def test_a_loss_that_is_no_number_is_refused(plan: Plan) -> None:
    diverging = msgspec.structs.replace(plan, learning_rate=1e30)
    with pytest.raises(InputError, match=r"the loss of step \d is nan"):
        run_rank(diverging, Ranks())


def test_the_digest_tells_weights_apart_by_a_bit() -> None:
    first, second = seeded(), seeded()
    assert weights_digest(first) == weights_digest(second)
    with torch.no_grad():
        second.head.bias[0] = torch.nextafter(second.head.bias[0], torch.tensor(9.0))
    assert weights_digest(first) != weights_digest(second)
