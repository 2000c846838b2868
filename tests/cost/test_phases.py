"""Phases of a model that is cut into stages: what the slowest device does, waits for and hides."""

from typing import Any

import msgspec
import pytest

from tests.cost.example_architectures import BERT_BASE, GPT2, LLAMA_2_7B, T5_SMALL
from topout.cost.estimate import phase_time
from topout.cost.ops import Load, Op, OpTime, Pace, product_flops
from topout.cost.phases import Phase, Plan, decode, forward, phases, prefill, training
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture, total_parameters
from topout.records import CostWorkload


def plan(architecture: Architecture, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "prompt_len": 64,
        "context_len": 96,
        "batch_size": 8,
        "dtype": "bf16",
        "weight_dtype": "bf16",
        "kv_dtype": "bf16",
    }
    recompute = changes.pop("recompute", "none")
    return Plan(
        architecture=architecture, workload=CostWorkload(**(fields | changes)), recompute=recompute
    )


class PerFlop:
    """A timer of 1 s per product FLOP, and of a second per element that is communicated."""

    fast = Pace(compute=2.0)
    slow = Pace(compute=0.5)

    def missing(self, load: Load) -> str | None:
        return None

    def time(self, op: Op, load: Load, pace: Pace) -> OpTime:
        if op.kind == "collective":
            return OpTime(communication_s=op.activation_elements)
        return OpTime(compute_s=op.flops / pace.compute if op.is_product else 0.0)


TIMER = PerFlop()


def whole_flops(phase: Phase) -> float:
    return product_flops(phase.ops)


@pytest.mark.parametrize(
    ("phase_of", "model"), [(prefill, GPT2), (forward, BERT_BASE), (training, LLAMA_2_7B)]
)
def test_stages_do_all_work_between_them(phase_of: Any, model: Architecture) -> None:
    """The ops of all micro-batches on the last stage, and on the others, are the whole model's."""
    one = phase_of(plan(model))
    four = phase_of(plan(model, pipeline_parallel=4, micro_batches=8))
    micro_batches = four.pipeline.micro_batches
    assert micro_batches == (8 if four.name == "training" else 4)
    both = whole_flops(four) + micro_batches * product_flops(four.fill)
    assert both == pytest.approx(whole_flops(one))
    assert 4 * four.model_flops == pytest.approx(one.model_flops)
    assert four.tokens == one.tokens


def test_equal_stages_wait_as_the_published_formula_says() -> None:
    """Without a head all four stages of 3 blocks are equal: (m + (p − 1)/v)·t."""
    headless = msgspec.structs.replace(GPT2, heads=[])
    for chunks, expected in ((1, 8 + 3), (3, 8 + 1)):
        phase = training(plan(headless, pipeline_parallel=4, micro_batches=8, interleave=chunks))
        compute_s = whole_flops(phase) / 8  # of one micro-batch on one stage
        found = phase_time(phase, TIMER)
        fill = [op for op in phase.fill if op.kind != "collective"]
        assert product_flops(fill) == pytest.approx(3 * compute_s)
        sends = sum(op.activation_elements for op in phase.fill if op.kind == "collective")
        assert found.bubble_s == pytest.approx((3 * compute_s + sends) / chunks)
        sent = sum(op.activation_elements for op in phase.ops if op.name.startswith("send"))
        assert found.time_s == pytest.approx(expected * compute_s + sent + sends / chunks)


def test_a_stage_sends_its_hidden_states_forward_and_their_gradients_back() -> None:
    phase = training(plan(GPT2, pipeline_parallel=4, micro_batches=4))
    sends = [op for op in phase.ops if op.collective == "send"]
    # 4 micro-batches of 2 sequences of 64 tokens, 768 wide, over the last stage's one boundary.
    assert [(op.name, op.count, op.over) for op in sends] == [
        ("send", 4, "pipeline"),
        ("send.backward", 4, "pipeline"),
    ]
    assert all(op.activation_elements == 4 * 2 * 64 * 768 for op in sends)
    # Of the other boundaries a micro-batch passes two in each direction.
    others = [op for op in phase.fill if op.collective == "send"]
    assert [op.activation_elements for op in others] == [2 * 2 * 64 * 768] * 2
    # Chunks cross more boundaries; the sequence of a tensor-parallel group is sent in parts.
    chunked = training(plan(GPT2, pipeline_parallel=4, micro_batches=4, interleave=3))
    assert next(op for op in chunked.ops if op.name == "send").count == 12
    shared = training(
        plan(GPT2, pipeline_parallel=4, tensor_parallel=2, sequence_parallel=True, micro_batches=4)
    )
    send = next(op for op in shared.ops if op.name == "send")
    assert send.activation_elements == 4 * 2 * 64 * 768 / 2


def test_micro_batches_unless_asked() -> None:
    """One sequence each in training; as many as stages in a pass, or as divide the batch."""
    for batch, few in ((8, 4), (6, 3), (5, 1), (1, 1)):
        found = {
            phase.name: phase.pipeline.micro_batches
            for phase in phases(plan(GPT2, pipeline_parallel=4, batch_size=batch))
        }
        assert found == {"prefill": few, "decode": few, "training": batch}
    alone = phases(plan(GPT2))
    assert {phase.pipeline.micro_batches for phase in alone} == {1}
    asked = phases(plan(GPT2, micro_batches=2))  # without stages only training is divided
    assert [phase.pipeline.micro_batches for phase in asked] == [1, 1, 2]


def test_micro_batches_read_the_weights_anew() -> None:
    one, eight = (
        next(op for op in training(plan(GPT2, micro_batches=n)).ops if op.name == "qkv")
        for n in (1, 8)
    )
    assert (eight.count, eight.rows) == (8 * one.count, one.rows / 8)
    assert eight.weight_elements == 8 * one.weight_elements
    assert (eight.flops, eight.activation_elements) == (one.flops, one.activation_elements)


def test_tokens_follow_one_another_through_the_stages() -> None:
    """With fewer micro-batches than stages a device waits for the rest of the way."""
    headless = msgspec.structs.replace(GPT2, heads=[])
    waits = []
    for batch_size in (1, 2, 4):  # which is the number of micro-batches too
        phase = decode(plan(headless, pipeline_parallel=4, batch_size=batch_size))
        each_s = whole_flops(phase) / batch_size
        waits.append(phase_time(phase, TIMER).bubble_s / each_s)
    # 3 other stages, of which the other micro-batches cover 0, 1, 3; and the sends.
    assert waits == pytest.approx([3, 2, 0], abs=0.02)


def test_gradients_are_summed_beside_the_backward_pass() -> None:
    """Of the last micro-batch alone; at the slow end of the interval after it."""
    phase = training(plan(GPT2, data_parallel=2, micro_batches=4))
    assert product_flops(phase.behind) == pytest.approx(2 * whole_flops(phase) / 3 / 4, rel=0.05)
    found, slow = phase_time(phase, TIMER), phase_time(phase, TIMER, TIMER.slow)
    place = next(n for n, op in enumerate(phase.ops) if op.over == "data")
    gradients = 124_439_808.0
    assert (found.hidden_s, found.ops[place].communication_s) == (gradients, 0.0)
    assert (slow.hidden_s, slow.ops[place].communication_s) == (0.0, gradients)
    # More than the backward pass takes is waited for.
    short = msgspec.structs.replace(phase, behind=[])
    assert phase_time(short, TIMER).ops[place].communication_s == gradients


def test_a_stage_updates_its_own_parameters() -> None:
    phase = training(plan(GPT2, pipeline_parallel=4, data_parallel=2))
    reduce = next(op for op in phase.ops if op.over == "data")
    # The last stage: 3 blocks of 7,087,872, the final norm, and a copy of the token table.
    assert reduce.activation_elements == 3 * 7_087_872 + 1536 + 50_257 * 768
    assert total_parameters(GPT2) > reduce.activation_elements


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (GPT2, {"pipeline_parallel": 13}, "has 12 blocks"),
        (T5_SMALL, {"pipeline_parallel": 2}, "single stack"),
        (GPT2, {"micro_batches": 3}, "3 micro-batches do not divide a batch of 8"),
        (GPT2, {"pipeline_parallel": 2, "micro_batches": 16}, "16 micro-batches do not divide"),
        (GPT2, {"interleave": 2}, "on each of 1 devices"),
        (GPT2, {"pipeline_parallel": 4, "interleave": 2}, "12 layers are not 2 equal chunks"),
        (
            GPT2,
            {"pipeline_parallel": 3, "interleave": 2, "micro_batches": 4},
            "multiple of 3 micro-batches, not 4",
        ),
        (GPT2, {"sequence_parallel": True}, "tensor parallelism"),
    ],
)
def test_what_is_not_modelled_is_refused(
    model: Architecture, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, UnsupportedError), match=message):
        phases(plan(model, **changes))


def test_plain_attention_walks_over_its_scores() -> None:
    """Four walks over 12 heads of 64 × 64 scores, six with dropout; all pairs are multiplied."""
    square = 12 * 8 * 12 * 64 * 64  # layers, sequences, heads
    for dropout, walks in ((False, 4), (True, 6)):
        phase = training(plan(GPT2, attention="plain", dropout=dropout))
        by_name = {op.name: op for op in phase.ops}
        assert by_name["attention_scores"].activation_elements == walks * square
        assert by_name["attention_scores.backward"].activation_elements == 1.5 * walks * square
        assert by_name["attention"].flops == 4 * square * 64
        # Its scores are there; fused attention computes them again.
        assert by_name["attention.backward"].flops == 2 * by_name["attention"].flops
    fused = {op.name: op for op in training(plan(GPT2, dropout=True)).ops}
    assert "attention_scores" not in fused
    assert fused["attention.backward"].flops == 2.5 * fused["attention"].flops
    assert fused["attention"].flops == 4 * square * 64 * (65 / 128)
    again = training(plan(GPT2, attention="plain", recompute="selective"))
    assert [op.name for op in again.ops if "recomputed" in op.name] == [
        "attention_scores.recomputed",
        "attention.recomputed",
    ]
