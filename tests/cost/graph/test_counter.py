"""`count` and `counting`: what they run, leave behind, and say when a run fails."""

import contextlib

import msgspec
import pytest
import torch
from torch import nn

from topout.cost.graph import count, counting
from topout.errors import InputError
from topout.records import Count, decode, encode

from .one_op import flops_by_phase, meta


def network(device: str = "cpu") -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).to(device)


def test_two_counts_of_the_same_are_equal() -> None:
    model, value = network(), torch.ones(2, 8)
    first = count(model, value, backward=True)
    assert count(model, value, backward=True) == first
    assert first.total.flops == 2 * 2 * (128 + 64) + 2 * 2 * (128 + 2 * 64)


def test_gradients_are_left_as_they_were() -> None:
    model, value = network(), torch.ones(2, 8)
    count(model, value, backward=True)
    assert all(parameter.grad is None for parameter in model.parameters())
    model(value).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]
    with_gradients = count(model, value, backward=True)
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]
    assert with_gradients.total == count(network(), value, backward=True).total


def test_meta_and_real_tensors_agree() -> None:
    real = count(network(), torch.ones(2, 8), backward=True)
    on_meta = count(network("meta"), meta(2, 8), backward=True)
    assert on_meta.total == real.total
    assert on_meta.modules == real.modules


def test_keyword_arguments_and_a_loss() -> None:
    class Output(dict):  # type: ignore[type-arg]
        loss: torch.Tensor

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.beside = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, *, value: torch.Tensor) -> Output:
            output = Output(logits=self.beside(value))
            output.loss = self.used(value).sum()
            return output

    by_own_loss = count(Model(), value=torch.ones(2, 4), backward=True)
    # Two layers forward, the weight's gradient of one.
    assert flops_by_phase(by_own_loss) == {"forward": 128, "backward": 64}
    by_function = count(
        Model(),
        value=torch.ones(2, 4),
        backward=lambda output: output.loss + output["logits"].sum(),
    )
    assert flops_by_phase(by_function) == {"forward": 128, "backward": 128}


def test_the_record_survives_json() -> None:
    counted = count(network(), torch.ones(2, 8), backward=True)
    assert decode(encode(counted), Count) == counted
    fields = msgspec.json.decode(encode(counted))
    assert (fields["kind"], fields["schema_version"]) == ("count", 1)
    assert {"multiply_add", "attention", "bytes", "embedding"} <= set(fields["conventions"])


def test_a_block_of_code() -> None:
    model = network()
    with counting(model) as counter:
        model(torch.ones(2, 8))
        with counter.paused():
            model(torch.ones(2, 8))
        half = counter.count()
        model(torch.ones(2, 8))
    assert counter.count().total.flops == 2 * half.total.flops == 2 * 768
    model(torch.ones(2, 8))
    assert counter.count().total.flops == 2 * 768


def test_the_ops_come_by_flops() -> None:
    counted = count(network(), torch.ones(2, 8), backward=True)
    flops = [op.work.flops for op in counted.ops]
    assert flops == sorted(flops, reverse=True)
    assert counted.ops[0].name == "aten::mm"


# --- failures -----------------------------------------------------------------------------------


class Picks(nn.Module):
    """Needs the numbers in its input."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value[value.nonzero()[0]] if value.sum().item() > 0 else value


def test_an_op_that_needs_values_is_named_and_the_rest_counted() -> None:
    model = nn.Sequential(
        nn.Linear(8, 8), nn.Sequential(Picks(), nn.Tanh()), nn.Sequential(nn.Linear(8, 4))
    ).to("meta")
    counted = count(model, meta(2, 8), backward=True)
    assert not counted.complete
    assert counted.failure is not None
    assert counted.failure.op == "aten::_local_scalar_dense"
    assert counted.failure.module == "1.0"
    assert "real tensors" in counted.failure.remedy
    assert counted.failure.not_reached == ["1.1", "2"]
    assert counted.total.flops == 2 * 2 * 8 * 8
    assert counted.compulsory_bytes is None
    real = count(model.to_empty(device="cpu"), torch.ones(2, 8))
    assert real.complete


@pytest.mark.parametrize(
    ("run", "op"),
    [
        (lambda x: x.nonzero(), "aten::nonzero"),
        (lambda x: x[x > 0], "aten::index"),
        (lambda x: torch.unique(x), "aten::_unique2"),
        (lambda x: bool(x.any()), "aten::_local_scalar_dense"),
        (
            lambda x: torch.cond(x.sum() > 0, lambda y: y @ y, lambda y: y, (x,)),
            "higher_order::cond",
        ),
    ],
)
def test_other_ops_that_need_values(run, op: str) -> None:  # type: ignore[no-untyped-def]
    failure = count(run, meta(4, 4)).failure
    assert failure is not None
    assert failure.op == op
    assert "real tensors" in failure.remedy


def test_a_shape_that_does_not_fit_names_op_and_module() -> None:
    counted = count(network(), torch.ones(2, 7))
    assert counted.failure is not None
    assert (counted.failure.module, counted.failure.op) == ("0", "aten::addmm")
    assert "shapes cannot be multiplied" in counted.failure.message
    assert counted.failure.not_reached == ["1", "2"]


def test_what_the_target_raises_itself() -> None:
    class Refuses(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            with contextlib.suppress(RuntimeError):
                value @ torch.ones(3)  # fails, and is caught
            raise ValueError("no such thing\nand more")

    counted = count(nn.Sequential(nn.Linear(8, 8), Refuses()), torch.ones(2, 8))
    assert counted.failure is not None
    assert (counted.failure.module, counted.failure.op) == ("1", None)
    assert counted.failure.message == "ValueError: no such thing"
    assert counted.total.flops == 2 * 2 * 8 * 8


def test_a_failing_backward_keeps_the_forward() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):  # type: ignore[no-untyped-def]
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            raise RuntimeError("broken")

    model = nn.Linear(8, 4)
    counted = count(lambda value: Broken.apply(model(value)), torch.ones(2, 8), backward=True)
    assert not counted.complete
    assert counted.phases["forward"].flops == 128
    assert counted.compulsory_bytes is not None


def test_an_exception_leaves_the_block_and_is_noted() -> None:
    counter = counting()
    with pytest.raises(ZeroDivisionError), counter:
        torch.ones(3) + 1
        1 / 0
    counted = counter.count()
    assert not counted.complete
    assert counted.total.other_flops == 3


def test_an_interrupt_is_no_result() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(interrupted)


def test_module_and_inputs_on_different_devices() -> None:
    with pytest.raises(InputError, match="meta"):
        count(network("meta"), torch.ones(2, 8))
    with pytest.raises(InputError, match="meta"):
        count(network(), meta(2, 8))


def test_a_backward_of_nothing() -> None:
    with torch.no_grad(), pytest.raises(InputError, match="gradient"):
        count(network(), torch.ones(2, 8), backward=True)


def test_a_loss_that_needs_no_gradient() -> None:
    with pytest.raises(InputError, match="gradient"):
        count(network(), torch.ones(2, 8), backward=lambda result: result.detach())
