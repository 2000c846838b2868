"""The cost of a module of the user's own, by hand for the two convolutions of a course."""

from pathlib import Path

import pytest

from tests.models.test_own_module import CODE
from topout.errors import InputError, UnsupportedError
from topout.records import CostReport
from topout.verbs.cost_request import CostRequest
from topout.verbs.report_cost import report_cost

MORE = """

class Depends(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) if x.sum().item() > 0 else x


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(64, 4, 256, 0.0) for _ in range(6))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "net.py").write_text(CODE + MORE)
    return str(tmp_path / "net.py")


def cost(model: str, *inputs: str, **options: object) -> CostReport:
    request = CostRequest(model=model, input=list(inputs), **options)  # type: ignore[arg-type]
    return report_cost(request)


def test_every_op_of_two_convolutions(path: str) -> None:
    report = cost(f"{path}:Net", "64x1x28x28", on=["a100-80gb"])
    assert (report.model.parameters, report.model.kind) == (21_840, "module")
    assert report.workload.batch_size == 64
    ops = {op.name: op for op in report.machines[0].ops if op.phase == "forward"}
    # Outputs · 2 · (channels · kernel): 24 × 24 of 10 channels, 8 × 8 of 20; then two products.
    assert ops["conv1"].flops == 64 * 10 * 24 * 24 * 2 * 25
    assert ops["conv2"].flops == 64 * 20 * 8 * 8 * 2 * 250
    assert ops["fc1"].flops == 64 * 2 * 320 * 50
    assert ops["fc2"].flops == 64 * 2 * 50 * 10
    assert ops["fc1"].weight_bytes == 4 * 16_050 or ops["fc1"].weight_bytes == 4 * 16_000
    forward, training = report.machines[0].forward, report.machines[0].training
    assert forward is not None and forward.tokens == 64 and forward.time_s
    assert training is not None and training.flops == 3 * forward.flops
    (row, *_) = report.memory.training
    assert (row.weights_bytes, row.optimizer_bytes) == (4 * 21_840, 8 * 21_840)
    assert row.errors_bytes == 64 * 10 * 4  # of its ten outputs


def test_twice_the_samples_are_twice_the_work(path: str) -> None:
    one, two = (cost(f"{path}:Net", f"{n}x1x28x28").machines[0].forward for n in (32, 64))
    assert one is not None and two is not None
    assert two.flops == 2 * one.flops
    assert one.bytes < two.bytes < 2 * one.bytes  # weights are read once


def test_equal_layers_are_counted_together(path: str) -> None:
    report = cost(f"{path}:Attends", "10x2x64")
    linear = sum(
        op.flops for op in report.machines[0].ops if op.phase == "forward" and op.kind == "linear"
    )
    # 20 rows; four products of 64 × 64 and two of 64 × 256 in each of six layers.
    assert linear == 6 * 20 * 2 * (4 * 64 * 64 + 2 * 64 * 256)


def test_in_another_precision(path: str) -> None:
    found = cost(f"{path}:Net", "64x1x28x28", dtype="bf16")
    assert found.workload.dtype == "bf16"
    assert found.memory.weight_bytes == 2 * 21_840
    assert cost(f"{path}:Net", "64x1x28x28").workload.dtype_origin == "as the module makes it"


def test_what_cannot_be_counted_is_said(path: str) -> None:
    with pytest.raises(InputError, match="its forward pass raised RuntimeError"):
        cost(f"{path}:Net", "64x3x28x28")
    with pytest.raises((InputError, UnsupportedError), match="shapes alone"):
        cost(f"{path}:Depends", "2x4")
    with pytest.raises(UnsupportedError, match="--tp is not modelled for Net"):
        cost(f"{path}:Net", "64x1x28x28", tensor_parallel=2)
    with pytest.raises(UnsupportedError, match="--micro-batches is not modelled"):
        cost(f"{path}:Net", "64x1x28x28", micro_batches=2)
    with pytest.raises(InputError, match="--prompt-len is for models of transformers"):
        cost(f"{path}:Net", "64x1x28x28", prompt_len=3)
    with pytest.raises(InputError, match="--input is for a module of your own"):
        cost("gpt2", "64x1x28x28")
