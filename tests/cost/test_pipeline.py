"""Stages of a pipeline and shares of a tensor-parallel device hold all parameters between them."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from tests.cost.example_architectures import BERT_BASE, GPT2, LLAMA_2_7B, T5_SMALL
from topout.cost.parallel import device_share
from topout.cost.pipeline import heaviest_stages, slowest_and_others
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import parameters_by_part, total_parameters

brief = settings(max_examples=30, deadline=None)


def test_one_stage_is_the_model() -> None:
    assert heaviest_stages(GPT2, 1) == [GPT2]
    assert heaviest_stages(T5_SMALL, 1) == [T5_SMALL]


def test_the_ends_hold_embedding_and_head() -> None:
    first, last = heaviest_stages(LLAMA_2_7B, 4)
    # 8 blocks of 202,383,360; embedding and head 32000·4096 each; the last norm 4096.
    assert total_parameters(first) == 8 * 202_383_360 + 131_072_000
    assert total_parameters(last) == 8 * 202_383_360 + 131_072_000 + 4096


def test_a_shared_table_is_in_both_ends() -> None:
    first, last = heaviest_stages(GPT2, 3)
    table = 50257 * 768
    assert parameters_by_part(first)["embedding"] == table
    assert parameters_by_part(last)["head"] == table
    assert not last.embeddings


@brief
@given(st.integers(2, 12), st.integers(0, 12))
def test_no_stage_has_more_than_its_share_of_blocks(stages: int, sliding: int) -> None:
    """Also where the blocks are of two kinds."""
    block = GPT2.blocks[0]
    kinds = [msgspec.structs.replace(block, count=n) for n in (12 - sliding, sliding) if n]
    mixed = msgspec.structs.replace(GPT2, blocks=kinds)
    for stage in heaviest_stages(mixed, stages):
        assert sum(each.count for each in stage.blocks) == -(-12 // stages)


def test_the_heavier_blocks_fill_a_stage_first() -> None:
    """Seven wide blocks and four narrow ones over three stages: four a stage, at most 3 wide."""
    wide = GPT2.blocks[0]
    narrow = msgspec.structs.replace(wide, mlp=msgspec.structs.replace(wide.mlp, width=10))
    stacks = [
        msgspec.structs.replace(narrow, name="narrow", count=4),
        msgspec.structs.replace(wide, name="wide", count=7),
    ]
    for stage in heaviest_stages(msgspec.structs.replace(GPT2, blocks=stacks), 3):
        assert [(block.name, block.count) for block in stage.blocks] == [
            ("wide", 3),  # ⌈7/3⌉
            ("narrow", 1),  # what is missing of ⌈11/3⌉
        ]
    # One of each at most where there are as many stages as blocks.
    for stage in heaviest_stages(msgspec.structs.replace(GPT2, blocks=stacks), 11):
        assert [(block.name, block.count) for block in stage.blocks] == [("wide", 1)]


def test_what_the_ends_do_not_hold() -> None:
    first, last = heaviest_stages(
        msgspec.structs.replace(GPT2, embedding_norm="layer_norm", final_norms=2), 2
    )
    assert (first.heads, first.final_norms, first.embedding_norm) == ([], 0, "layer_norm")
    assert (last.embeddings, last.final_norms, last.embedding_norm) == ([], 2, None)
    assert first.embeddings == GPT2.embeddings
    assert [(head.name, head.tied) for head in last.heads] == [("head", False)]
    assert first.convolutions == last.convolutions == []


def test_rows_of_the_vocabulary_are_divided_and_those_of_positions_are_not() -> None:
    share = device_share(GPT2, 4)
    # 50257 / 4 = 12564.25.
    assert [(table.name, table.rows) for table in share.embeddings] == [
        ("tokens", 12_565),
        ("positions", 1024),
    ]
    assert share.heads[0].outputs == 12_565


@brief
@given(st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_shares_make_up_the_whole(devices: int) -> None:
    share = parameters_by_part(device_share(BERT_BASE, devices))
    whole = parameters_by_part(BERT_BASE)
    assert share["norms"] == whole["norms"]
    # Rows of the vocabulary are padded; token types, and biases after a sum, are on all devices.
    assert 0 <= devices * share["embedding"] - whole["embedding"] < devices * 768 * 3
    assert 0 <= devices * share["mlp"] - whole["mlp"] == (devices - 1) * 12 * 768


def test_bad_input() -> None:
    with pytest.raises(InputError, match="pipeline_parallel is 13, and gpt2 has 12 blocks"):
        heaviest_stages(GPT2, 13)
    with pytest.raises(InputError, match="pipeline_parallel is 0"):
        heaviest_stages(GPT2, 0)
    with pytest.raises(InputError, match="tensor_parallel is 0"):
        device_share(GPT2, 0)
    with pytest.raises(UnsupportedError, match="t5-small"):
        heaviest_stages(T5_SMALL, 2)


@brief
@given(st.integers(1, 12), st.integers(1, 11))
def test_the_slowest_stage_and_the_others_are_the_model(stages: int, sliding: int) -> None:
    block = GPT2.blocks[0]
    kinds = [msgspec.structs.replace(block, count=n) for n in (12 - sliding, sliding)]
    slowest, others = slowest_and_others(msgspec.structs.replace(GPT2, blocks=kinds), stages)
    if stages == 1:
        assert others is None
        return
    assert others is not None
    layers = [sum(each.count for each in part.blocks) for part in (slowest, others)]
    assert layers == [-(-12 // stages), 12 - -(-12 // stages)]
    assert (slowest.embeddings, others.heads, others.final_norms) == ([], [], 0)
    assert others.embeddings == GPT2.embeddings
