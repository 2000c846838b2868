"""A training step of a small decoder, by hand."""

from typing import Any

import msgspec
import pytest

from topout.cost.ops import Op, product_flops
from topout.cost.passes import pass_ops
from topout.cost.training import (
    Recompute,
    TrainingStep,
    backward_of,
    backward_ops,
    is_recomputed,
    update_ops,
)
from topout.errors import InputError
from topout.models.config import architecture_of

from .small_config import SMALL

FORWARD = pass_ops(architecture_of(SMALL), batch_size=1, new_tokens=4, context_len=4, logits_rows=4)


def training_ops(
    forward: list[Op], parameters: int, recompute: Recompute = "none", replicas: int = 1
) -> list[Op]:
    back = backward_ops(forward, recompute=recompute)
    return [*forward, *back, *update_ops(parameters, replicas=replicas)]


def named(ops: list[Op], name: str) -> Op:
    (found,) = [op for op in ops if op.name == name]
    return found


def test_backward_is_twice_forward_and_attention_two_and_a_half() -> None:
    ops = training_ops(FORWARD, 1000)
    # qkv: 2 layers · 2·4·300 FLOPs = 4800 forward, 9600 backward; W is read and dW written.
    assert named(ops, "qkv").flops == 4800
    assert named(ops, "qkv.backward").flops == 9600
    assert named(ops, "qkv.backward").weight_elements == 2 * 600
    # Attention: 2 layers · 10 pairs · 40 = 800; 5 products where forward has 2.
    assert named(ops, "attention.backward").flops == 2.5 * 800
    linear = product_flops(FORWARD) - 800
    assert product_flops(ops) == 3 * linear + 3.5 * 800


def test_recomputing_runs_forward_again() -> None:
    plain = product_flops(training_ops(FORWARD, 1))
    selective = product_flops(training_ops(FORWARD, 1, recompute="selective"))
    full = product_flops(training_ops(FORWARD, 1, recompute="full"))
    assert selective - plain == 800  # attention alone
    # All but the head: its 2·4·1000 FLOPs run once.
    assert full - plain == product_flops(FORWARD) - 8000
    assert not is_recomputed(named(FORWARD, "embedding"), "full")


def test_the_optimizer_moves_28_bytes_a_parameter() -> None:
    optimizer = training_ops(FORWARD, 1000)[-1]
    assert (optimizer.name, optimizer.fixed_bytes) == ("optimizer", 28_000.0)


def test_gradients_are_summed_over_replicas_alone() -> None:
    assert all(op.kind != "collective" for op in training_ops(FORWARD, 1000))
    summed = named(training_ops(FORWARD, 1000, replicas=2), "gradient_all_reduce")
    assert summed.activation_elements == 1000


def test_a_sum_of_activations_is_one_of_gradients_in_backward() -> None:
    reduce = Op(name="all_reduce", kind="collective", count=2, flops=0.0, activation_elements=8.0)
    assert backward_of(reduce).activation_elements == 8.0


OP = Op(
    name="op",
    part="mlp",
    kind="linear",
    count=3,
    shape="as it is",
    rows=5,
    matrix_elements=7,
    flops=100.0,
    weight_elements=11.0,
    activation_elements=20.0,
    kv_elements=30.0,
)


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        # FLOPs, elements of weights, of activations and of keys and values
        ("linear", (200.0, 22.0, 40.0, 30.0)),
        ("convolution", (200.0, 22.0, 40.0, 30.0)),
        ("attention", (250.0, 11.0, 40.0, 60.0)),
        ("elementwise", (200.0, 11.0, 30.0, 30.0)),
        ("embedding", (200.0, 11.0, 30.0, 30.0)),
        ("collective", (100.0, 11.0, 20.0, 30.0)),
    ],
)
def test_the_gradient_of_each_kind_of_op(kind: Any, figures: tuple[float, ...]) -> None:
    found = backward_of(msgspec.structs.replace(OP, kind=kind))
    assert found.name == "op.backward"
    assert (found.kind, found.part, found.count, found.shape) == (kind, "mlp", 3, "as it is")
    assert (found.rows, found.matrix_elements) == (5, 7)
    assert figures == (
        found.flops,
        found.weight_elements,
        found.activation_elements,
        found.kv_elements,
    )


def test_what_runs_again() -> None:
    def again(kind: Any, part: str, recompute: Any) -> bool:
        return is_recomputed(msgspec.structs.replace(OP, kind=kind, part=part), recompute)

    assert [again("attention", "attention", how) for how in ("none", "selective", "full")] == [
        False,
        True,
        True,
    ]
    assert [again("linear", "attention", how) for how in ("none", "selective", "full")] == [
        False,
        False,
        True,
    ]
    for part in ("embedding", "head", "convolution"):
        assert not again("linear", part, "full")
    # The sums between the devices that share a block, but no message of a pipeline.
    assert again("collective", "communication", "full")
    assert not again("collective", "communication", "selective")
    send = msgspec.structs.replace(OP, kind="collective", collective="send")
    assert not is_recomputed(send, "full")
    assert not again("attention", "embedding", "selective")


def test_the_order_of_a_step() -> None:
    forward = [msgspec.structs.replace(OP, name=name) for name in ("first", "second")]
    ops = training_ops(forward, 6, recompute="full", replicas=2)
    assert [op.name for op in ops] == [
        "first",
        "second",
        "second.recomputed",
        "second.backward",
        "first.recomputed",
        "first.backward",
        "gradient_all_reduce",
        "optimizer",
    ]
    assert ops[2] == msgspec.structs.replace(OP, name="second.recomputed")
    assert ops[-2] == Op(
        name="gradient_all_reduce",
        part="communication",
        kind="collective",
        over="data",
        count=1,
        shape="6 gradients",
        flops=0.0,
        activation_elements=6.0,
    )
    # 12 FLOPs and 28 bytes a parameter.
    assert ops[-1] == Op(
        name="optimizer",
        part="optimizer",
        kind="elementwise",
        count=1,
        shape="6 parameters, AdamW",
        flops=72.0,
        fixed_bytes=168.0,
    )
    assert [op.name for op in training_ops(forward, 6)][-2:] == ["first.backward", "optimizer"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"sequence_len": 0}, "sequence_len is 0"),
        ({"target_len": 0}, "target_len is 0"),
        ({"tensor_parallel": 0}, "tensor_parallel is 0"),
        ({"dtype": "int8"}, "cannot train in 'int8'"),
    ],
)
def test_a_step_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    fields = {"batch_size": 1, "sequence_len": 1, "target_len": 1, "tensor_parallel": 1}
    TrainingStep(**fields)  # the least that can be
    with pytest.raises(InputError, match=message):
        TrainingStep(**(fields | changes))


def test_bytes_of_masks_and_statistics() -> None:
    def sizes(**fields: Any) -> tuple[int, int, int]:
        step = TrainingStep(batch_size=1, sequence_len=1, **fields)
        return step.element_bytes, step.mask_bytes, step.statistic_bytes

    assert sizes(dtype="bf16") == (2, 1, 4)
    assert sizes(dtype="fp32") == (4, 1, 4)
    assert sizes(dtype="bf16", device="cpu") == (2, 2, 2)
    assert sizes(dtype="fp32", device="cpu") == (4, 4, 4)


def test_pytorchs_own_counter_agrees_on_backward() -> None:
    """Independent: our decoder's forward and backward under torch's FLOP counter."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from topout.models.decoder import Decoder

    decoder, length = Decoder(SMALL), 6
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = decoder(torch.zeros(2, length, dtype=torch.int64), torch.arange(length))
        out.sum().backward()
    forward = pass_ops(
        architecture_of(SMALL),
        batch_size=2,
        new_tokens=length,
        context_len=length,
        logits_rows=length,
    )
    ops = training_ops(forward, 1)
    linear = sum(op.flops for op in ops if op.kind == "linear")
    # Plain attention is counted in full and its backward twice: 3 · 2 layers · 2·36 pairs · 40.
    assert counter.get_total_flops() == pytest.approx(linear + 3 * 2 * 2 * 36 * 40)
