"""Memory of a training step: sums by hand, splits, and PyTorch's own peak."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from tests.cost import small_models
from tests.cost.example_architectures import BERT_BASE, GPT2, LLAMA_2_7B, MIXTRAL, T5_SMALL
from tests.cost.live_bytes import LiveBytes
from topout.cost.pipeline import heaviest_stages
from topout.cost.training import TrainingPlan, TrainingStep
from topout.cost.training_memory import activation_bytes, training_memory, training_table
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture
from topout.records.cost import TrainingMemory

brief = settings(max_examples=40, deadline=None)


def step(batch: int = 1, length: int = 128, **more: Any) -> TrainingStep:
    return TrainingStep(batch_size=batch, sequence_len=length, **more)


def memory(
    architecture: Architecture, setting: TrainingStep | None = None, **plan: Any
) -> TrainingMemory:
    return training_memory(architecture, setting or step(), TrainingPlan(**plan))


# --- by hand ------------------------------------------------------------------------------------


def test_llama_with_adam() -> None:
    found = memory(LLAMA_2_7B, step(1, 4096))
    n = 6_738_415_616
    assert found.weights_bytes == found.gradients_bytes == 2 * n
    assert found.optimizer_bytes == 12 * n
    # 32 blocks of 539,525,120; token numbers 4096·8 = 32,768; rotation 2·4096·128·2 = 2,097,152;
    # final norm and head's input 2·33,554,432 and roots 16,384; logits' logarithms in fp32
    # 4096·32000·4 = 524,288,000, targets 32,768, their weight 4.
    edges = 32_768 + 2_097_152 + 67_108_864 + 16_384
    # The gradient of the logits is written over their logarithms.
    assert found.activations_bytes == 32 * 539_525_120 + edges + 32_768 + 4
    assert found.errors_bytes == 524_288_000
    assert found.total_bytes == 16 * n + found.activations_bytes + found.errors_bytes


def test_full_recomputation_keeps_inputs_and_one_block() -> None:
    found = activation_bytes(LLAMA_2_7B, step(1, 4096), "full")
    # 32 inputs of 4096·4096·2 bytes; of the block at work all but its input.
    assert found.blocks == 32 * 33_554_432
    assert found.working == 539_525_120 - 33_554_432
    # The gradient of the hidden states goes back through it; the loss has fewer.
    assert (found.block_errors, found.is_at_loss) == (33_554_432, False)
    assert found.peak == found.blocks + found.edges + 539_525_120
    assert found.errors == found.block_errors


def test_the_errors_of_the_loss_where_it_is_the_fullest_moment() -> None:
    found = activation_bytes(GPT2, step(1, 64), "none")
    assert (found.is_at_loss, found.errors) == (True, 64 * 50_257 * 4)
    assert found.peak == found.blocks + found.edges + found.loss + found.errors


def test_selective_recomputation_drops_the_scores() -> None:
    setting = step(2, 64, fused_attention=False, dropout=True)
    kept = [activation_bytes(GPT2, setting, how) for how in ("none", "selective")]
    scores = 12 * 2 * 64 * 64 * 5  # heads, sequences, pairs: softmax 2, mask 1, result 2 bytes
    assert kept[0].blocks - kept[1].blocks == 12 * scores
    assert kept[1].working == scores


def test_a_pooler_has_no_loss() -> None:
    assert activation_bytes(BERT_BASE, step(), "none").loss == 0


def test_gradients_that_come_as_activations_go() -> None:
    kept = memory(GPT2)
    fresh = memory(GPT2, gradients_persist=False)
    assert kept.total_bytes - fresh.total_bytes == min(
        kept.gradients_bytes, kept.activations_bytes + kept.errors_bytes
    )


# --- splits -------------------------------------------------------------------------------------


def test_zero_leaves_activations_alone() -> None:
    rows = training_table(GPT2, step(), TrainingPlan(data_parallel=8))
    assert [(row.recompute, row.zero_stage) for row in rows] == [
        (recompute, stage) for recompute in ("none", "selective", "full") for stage in range(4)
    ]
    assert len({row.activations_bytes for row in rows[:4]}) == 1
    assert [row.total_bytes for row in rows[:4]] == sorted(
        (row.total_bytes for row in rows[:4]), reverse=True
    )
    # 124,439,808 parameters over 8 devices, 12 bytes each.
    assert rows[1].optimizer_bytes == 12 * 124_439_808 // 8


def test_a_convolutional_network_recomputes_nothing() -> None:
    _, architecture = small_models.build("resnet", torch.float32)
    setting = step(8, 1, dtype="fp32")
    (row,) = training_table(architecture, setting, TrainingPlan())
    assert row.recompute == "none"
    assert activation_bytes(architecture, setting, "none").working == 0
    assert row.activations_bytes > row.weights_bytes


def test_two_replicas_divide() -> None:
    rows = training_table(GPT2, step(), TrainingPlan(data_parallel=2))
    assert [row.zero_stage for row in rows] == 3 * [0, 1, 2, 3]


def test_one_replica_has_nothing_to_divide() -> None:
    rows = training_table(GPT2, step(), TrainingPlan())
    assert [(row.recompute, row.zero_stage) for row in rows] == [
        ("none", 0),
        ("selective", 0),
        ("full", 0),
    ]


def test_the_first_stage_holds_more_micro_batches() -> None:
    setting = step(4, 512)
    parts = {n: memory(LLAMA_2_7B, setting, pipeline_parallel=n) for n in (1, 4)}
    # A quarter of the blocks, four micro-batches of them: the same block activations.
    blocks = activation_bytes(LLAMA_2_7B, setting, "none").blocks
    assert parts[4].activations_bytes >= blocks
    assert parts[4].weights_bytes < parts[1].weights_bytes / 3
    one = memory(LLAMA_2_7B, setting, pipeline_parallel=4, micro_batches=1)
    assert one.activations_bytes < parts[4].activations_bytes / 2


@pytest.mark.parametrize(("micro_batches", "under_way"), [(None, 4), (9, 4), (3, 3), (2, 2)])
def test_bytes_of_the_first_of_four_stages(micro_batches: int | None, under_way: int) -> None:
    found = memory(LLAMA_2_7B, step(1, 4096), pipeline_parallel=4, micro_batches=micro_batches)
    # 8 blocks of 202,383,360 parameters and the embedding of 131,072,000; no norm, no head.
    n = 1_750_138_880
    assert found.weights_bytes == found.gradients_bytes == 2 * n
    assert found.optimizer_bytes == 12 * n
    # Of each micro-batch 8 blocks of 539,525,120, token numbers 32,768 and rotation 2,097,152.
    assert found.activations_bytes == under_way * (8 * 539_525_120 + 32_768 + 2_097_152)
    assert found.errors_bytes == 33_554_432  # the gradient of a block's output
    assert found.total_bytes == 16 * n + found.activations_bytes + found.errors_bytes


def test_bytes_of_the_last_of_four_stages() -> None:
    """With one micro-batch under way it is the larger: the loss and the last norm are its own."""
    found = memory(LLAMA_2_7B, step(1, 4096), pipeline_parallel=4, micro_batches=1)
    # The head is as large as the embedding; 4096 more of the norm.
    n = 1_750_138_880 + 4096
    assert found.weights_bytes == 2 * n
    # 8 blocks; rotation; inputs of norm and head 2·33,554,432, roots 16,384; and the loss:
    # 4·4096·32,000 logarithms, targets 8·4096, a weight of 4.
    edges = 2_097_152 + 67_108_864 + 16_384
    assert found.activations_bytes == 8 * 539_525_120 + edges + 32_768 + 4
    assert found.errors_bytes == 524_288_000
    assert found.total_bytes == 16 * n + found.activations_bytes + found.errors_bytes


def test_the_last_stage_can_be_the_largest() -> None:
    """The logits of a long vocabulary outweigh what the first stage has under way."""
    setting = step(4, 512, implementation="eager")
    stages = memory(GPT2, setting, pipeline_parallel=12, recompute="full", micro_batches=1)
    # Three times 4 · 4·512·50257 bytes around the loss.
    assert stages.errors_bytes == 2 * 4 * 4 * 512 * 50257
    assert stages.activations_bytes > 4 * 4 * 512 * 50257


def test_the_last_stage_does_not_embed() -> None:
    setting = step(4, 512, dropout=True)
    kept = [activation_bytes(stage, setting, "none").edges for stage in heaviest_stages(GPT2, 4)]
    # First: 4·512 token numbers and 512 positions of 8 bytes, a mask of 4·512·768 bytes.
    assert kept[0] == 8 * (4 * 512 + 512) + 4 * 512 * 768
    # Last: inputs of norm and head, 2 bytes each, and two statistics a token in fp32.
    assert kept[1] == 4 * 512 * (2 * 768 * 2 + 2 * 4)


@brief
@given(st.sampled_from([1, 2, 4, 8, 16, 32]), st.booleans())
def test_tensor_parallel_devices_hold_less(devices: int, along: bool) -> None:
    setting = step(2, 256, tensor_parallel=devices, sequence_parallel=along)
    share, whole = memory(LLAMA_2_7B, setting), memory(LLAMA_2_7B, step(2, 256))
    assert share.total_bytes * devices >= whole.total_bytes
    assert (share.total_bytes < whole.total_bytes) == (devices > 1)


# --- against PyTorch ----------------------------------------------------------------------------

BATCH, LENGTH, VOCAB = 6, 32, 1500


def peak_of(
    family: str, dtype: torch.dtype, attention: str, *, checkpoint: bool
) -> tuple[int, Architecture]:
    """Most bytes alive in forward and backward, without weights; and the model."""
    model, architecture = small_models.build(
        family, dtype, attention=attention, vocab_size=VOCAB, num_hidden_layers=4
    )
    if checkpoint:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    arguments = small_models.inputs(family, dtype, batch=BATCH, length=LENGTH, vocab=VOCAB)
    live = LiveBytes(*model.parameters(), *model.buffers())
    with live:
        model(**arguments).loss.backward()
    return live.peak, architecture


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral", "bert"])
@pytest.mark.parametrize(("dtype", "attention"), [("fp32", "sdpa"), ("bf16", "eager")])
def test_pytorchs_peak(family: str, dtype: str, attention: str, recompute: Any) -> None:
    """The fullest moment of forward and backward, within 2 %; gradients are yet to come."""
    torch_dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    peak, architecture = peak_of(family, torch_dtype, attention, checkpoint=recompute == "full")
    setting = TrainingStep(
        batch_size=BATCH,
        sequence_len=LENGTH,
        dtype=dtype,  # type: ignore[arg-type]
        implementation="eager",
        fused_attention=attention == "sdpa",
        device="cpu",
    )
    assert activation_bytes(architecture, setting, recompute).peak == pytest.approx(peak, rel=0.02)


@pytest.mark.parametrize("batch", [1, 24])
def test_pytorchs_whole_step(batch: int) -> None:
    """Weights, AdamW's states and the rest of a second step, whether few tokens or many."""
    model, architecture = small_models.build("llama", torch.float32, num_hidden_layers=4)
    live = LiveBytes(*model.parameters(), *model.buffers())
    weights = sum(parameter.nbytes for parameter in model.parameters())
    with live:
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        for _ in range(2):
            live.peak = live.now
            arguments = small_models.inputs("llama", torch.float32, batch=batch, length=32)
            model(**arguments).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    setting = TrainingStep(
        batch_size=batch, sequence_len=32, dtype="fp32", implementation="eager", device="cpu"
    )
    predicted = training_memory(architecture, setting, TrainingPlan(gradients_persist=False))
    assert predicted.total_bytes == pytest.approx(weights + live.peak, rel=0.01)


# --- properties and bad input -------------------------------------------------------------------


@brief
@given(
    st.integers(1, 64),
    st.integers(1, 1000),
    st.sampled_from([GPT2, BERT_BASE, T5_SMALL, MIXTRAL]),
    st.sampled_from(["none", "selective", "full"]),
    st.booleans(),
)
def test_more_tokens_take_more(
    batch: int, length: int, architecture: Architecture, recompute: Any, fused: bool
) -> None:
    def total(b: int, s: int) -> int:
        setting = step(b, s, fused_attention=fused)
        return memory(architecture, setting, recompute=recompute).activations_bytes

    assert total(batch, length) < total(batch + 1, length)
    assert total(batch, length) < total(batch, length + 1)


@brief
@given(st.integers(1, 64), st.integers(1, 2000), st.booleans())
def test_recomputation_never_takes_more(batch: int, length: int, fused: bool) -> None:
    setting = step(batch, length, fused_attention=fused, dropout=True)
    rows = training_table(GPT2, setting, TrainingPlan())
    sizes = [row.activations_bytes for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"gpt2: .*divide"):
        memory(GPT2, step(tensor_parallel=5))
    with pytest.raises(InputError, match="pipeline_parallel is 13, and gpt2 has 12 blocks"):
        memory(GPT2, pipeline_parallel=13)
    with pytest.raises(UnsupportedError, match="pipeline stages"):
        memory(T5_SMALL, pipeline_parallel=2)


# --- the documentation --------------------------------------------------------------------------


def test_the_documented_table() -> None:
    """docs/memory.md shows what the functions say."""
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
    for row in training_table(LLAMA_2_7B, step(1, 4096), TrainingPlan(data_parallel=8)):
        if row.recompute == "selective":
            continue
        parts = (
            row.weights_bytes,
            row.gradients_bytes,
            row.optimizer_bytes,
            row.activations_bytes,
            row.errors_bytes,
            row.total_bytes,
        )
        figures = " | ".join(f"{part / 1e9:.1f}" for part in parts)
        assert f"| {row.recompute} | {row.zero_stage} | {figures} |" in page
