"""A training step of a small decoder, by hand."""

import pytest

from topout.cost.ops import Op, product_flops
from topout.cost.passes import pass_ops
from topout.cost.training import backward_of, is_recomputed, training_ops
from topout.models.architectures.decoder import architecture_of

from .small_config import SMALL

FORWARD = pass_ops(architecture_of(SMALL), batch_size=1, new_tokens=4, context_len=4, logits_rows=4)


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
