"""`topout.profile`: any PyTorch code, a training step included."""

from pathlib import Path

import pytest
import torch
from torch import nn

import topout
from topout.errors import InputError
from topout.profiling.report import export_perfetto, export_tensorboard
from topout.records import ProfileReport, decode, encode


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


@pytest.fixture(scope="module")
def training() -> ProfileReport:
    """A training step of two blocks."""
    model = nn.Sequential(Block(), Block())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(32, 64)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return topout.profile(
        step, warmup=1, repeats=2, modules={"net": model}, ceilings=False, name="one step"
    )


def test_operators_and_gaps_add_up_to_the_clock(training: ProfileReport) -> None:
    (phase,) = training.phases
    assert phase.name == "call" and phase.passes == 1
    assert phase.traced_s < phase.wall_s  # by how much, a busy machine decides
    assert sum(row.self_s for row in phase.operators) == pytest.approx(phase.operators_s)
    assert phase.operators_s + phase.gap_s == pytest.approx(phase.traced_s + phase.overlap_s)
    assert sum(part.self_s for part in phase.parts) == pytest.approx(phase.traced_s)
    assert sum(gap.total_s for gap in phase.gaps) == pytest.approx(phase.gap_s)
    assert sum(group.total_s for group in phase.groups) == pytest.approx(phase.operators_s)


def test_the_backward_is_given_to_the_modules(training: ProfileReport) -> None:
    parts = {part.name: part for part in training.phases[0].parts}
    assert {"up", "down", "norm", "net.*"} <= set(parts)
    assert parts["up"].calls == 2
    assert all(parts[name].backward_s > 0 for name in ("up", "down", "norm"))
    assert any(name.startswith("Optimizer.step") for name in parts)


def test_products_are_counted_forward_and_backward(training: ProfileReport) -> None:
    rates = training.phases[0].rates
    up = [rate for rate in rates if rate.part == "up" and rate.family == "product"]
    # Forward, and the gradients of weight and input, of two layers: 32×64 times 64×128.
    assert sum(rate.flops for rate in up) == 2 * 3 * 2 * 32 * 64 * 128
    assert training.phases[0].uncounted == []


def test_the_profilers_cost_and_the_threads_are_told(training: ProfileReport) -> None:
    (phase,) = training.phases
    assert phase.slowdown is not None and len(phase.slowdown.pairs) == 2
    assert phase.unprofiled_s is not None and phase.unprofiled_s.median > 0
    assert phase.elapsed is not None
    for thread in phase.elapsed.threads:
        parts = thread.user_s + thread.system_s + thread.waiting_s
        assert parts == pytest.approx(phase.elapsed.wall_s)
    (host,) = training.memory
    assert host.points and host.peak_allocated_bytes and len(host.resident) == 2


def test_it_is_a_record(training: ProfileReport) -> None:
    assert decode(encode(training), ProfileReport) == training
    assert training.subject == "one step" and training.findings
    assert training.reasons == {"ceilings": "not asked for"}


def test_a_module_is_called_with_its_inputs() -> None:
    block = Block()
    with torch.inference_mode():
        report = topout.profile(block, torch.randn(4, 64), repeats=1, ceilings=False)
    assert report.subject == "Block"
    assert "up" in {part.name for part in report.phases[0].parts}


def test_without_counting_there_are_no_rates(tmp_path: Path) -> None:
    target = tmp_path / "trace.json"
    report = topout.profile(
        lambda: torch.ones(8, 8) @ torch.ones(8, 8),
        repeats=1,
        count_work=False,
        ceilings=False,
        perfetto=target,
        tensorboard=tmp_path / "board",
    )
    (phase,) = report.phases
    assert phase.rates == [] and "rates" in phase.reasons and "groups" in phase.reasons
    assert b"phase: call 1" in target.read_bytes()
    (file,) = (tmp_path / "board").iterdir()
    assert file.name.endswith(".pt.trace.json.gz") and report.exports == [str(target), str(file)]


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be called"):
        topout.profile("no function", ceilings=False)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="repeats=0"):
        topout.profile(lambda: None, repeats=0)
    with pytest.raises(InputError, match="warmup=-1"):
        topout.profile(lambda: None, warmup=-1)


def test_what_the_function_raises_is_raised() -> None:
    def failing() -> None:
        raise ZeroDivisionError("its own fault")

    with pytest.raises(ZeroDivisionError, match="its own fault"):
        topout.profile(failing, warmup=0, ceilings=False, count_work=False)


def test_no_operator_at_all_is_all_gap() -> None:
    report = topout.profile(lambda: sum(range(20000)), repeats=1, ceilings=False)
    (phase,) = report.phases
    assert phase.operators == [] and phase.gap_s == pytest.approx(phase.traced_s)
    assert any("calls no operator" in finding for finding in report.findings)


def test_a_trace_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json.gz"
    trace.write_bytes(b"")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(topout.TopoutError, match="file"):
        export_tensorboard(trace, tmp_path / "file")
    with pytest.raises(topout.TopoutError, match="nowhere"):
        export_perfetto(trace, tmp_path / "nowhere" / "trace.json.gz")


def test_a_workers_name_has_no_dot(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json.gz"
    trace.write_bytes(b"x")
    file = export_tensorboard(trace, tmp_path / "board", "host.domain_12")
    assert file.name.startswith("host-domain_12.") and file.read_bytes() == b"x"
