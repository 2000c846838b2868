"""What one of several devices holds and sends, by hand."""

import msgspec
import pytest

from topout.cost.ops import Op, product_flops
from topout.cost.parallel import along_sequence, tensor_parallel_ops, tensor_parallel_share
from topout.cost.passes import kv_elements, pass_ops
from topout.errors import InputError, UnsupportedError
from topout.models.architecture import Architecture
from topout.models.architectures.read import find_architecture

LLAMA = find_architecture("llama-3-8b")  # 32 heads, 8 key/value heads, 14336 wide MLP


def token_flops(architecture: Architecture) -> float:
    return product_flops(
        pass_ops(architecture, batch_size=1, new_tokens=1, context_len=100, logits_rows=1)
    )


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_share_all_work(devices: int) -> None:
    share = tensor_parallel_share(LLAMA, devices)
    assert devices * token_flops(share) == pytest.approx(token_flops(LLAMA))
    assert devices * kv_elements(share, 1, 100) == kv_elements(LLAMA, 1, 100)


def test_more_devices_than_key_value_heads_hold_copies() -> None:
    share = tensor_parallel_share(LLAMA, 16)
    assert share.blocks[0].attention.kv_heads == 1
    assert 16 * kv_elements(share, 1, 100) == 2 * kv_elements(LLAMA, 1, 100)


def test_two_sums_a_block() -> None:
    ops = tensor_parallel_ops(LLAMA, 5, 1)
    # 32 blocks · 2 sums of 5 tokens · 4096; the logits of one row are gathered.
    assert (ops[0].count, ops[0].activation_elements) == (64, 64 * 5 * 4096)
    assert ops[1].activation_elements == 128256
    assert len(tensor_parallel_ops(LLAMA, 5, 0)) == 1


def test_with_sequence_parallelism_a_sum_is_two_halves() -> None:
    scatter, gather, logits = tensor_parallel_ops(LLAMA, 5, 1, sequence_parallel=True)
    assert (scatter.collective, gather.collective) == ("reduce_scatter", "all_gather")
    for half in (scatter, gather):
        assert (half.count, half.activation_elements) == (64, 64 * 5 * 4096)
    assert logits.collective == "all_gather"


def test_norms_and_residuals_are_divided_along_the_sequence() -> None:
    whole = pass_ops(LLAMA, batch_size=1, new_tokens=8, context_len=8, logits_rows=1)
    divided = along_sequence(whole, 4)
    for before, after in zip(whole, divided, strict=True):
        shared = 4 if before.name in ("norms", "residuals") else 1
        assert after.activation_elements == before.activation_elements / shared
        assert (after.count, after.flops) == (before.count, before.flops / shared)


def test_a_whole_head_stays_whole() -> None:
    share = tensor_parallel_share(LLAMA, 8, split_head=False)
    assert share.heads == LLAMA.heads


@pytest.mark.parametrize("devices", [0, -1, 3, 5, 64])
def test_what_does_not_divide_is_refused(devices: int) -> None:
    with pytest.raises(InputError):
        tensor_parallel_share(LLAMA, devices)


def test_an_mlp_that_does_not_divide_is_named() -> None:
    odd = msgspec.structs.replace(
        LLAMA.blocks[0], mlp=msgspec.structs.replace(LLAMA.blocks[0].mlp, width=14337)
    )
    with pytest.raises(InputError, match="14337"):
        tensor_parallel_share(msgspec.structs.replace(LLAMA, blocks=[odd]), 2)


def test_the_share_of_every_part() -> None:
    """T5 with 8 heads, a shared expert and a vocabulary of 32,128 that 5 and 6 do not divide."""
    t5 = find_architecture("t5-small")
    blocks = [
        msgspec.structs.replace(block, mlp=msgspec.structs.replace(block.mlp, shared_width=12))
        for block in t5.blocks
    ]
    share = tensor_parallel_share(msgspec.structs.replace(t5, blocks=blocks), 4)
    encoder, decoder = share.blocks
    for block in (encoder, decoder):
        assert (block.attention.heads, block.attention.kv_heads, block.attention.head_size) == (
            2,
            2,
            64,
        )
        assert (block.mlp.width, block.mlp.shared_width) == (512, 3)
        assert (block.width, block.count, block.norms) == (
            512,
            6,
            3 if block.cross_attention else 2,
        )
    assert encoder.cross_attention is None
    assert decoder.cross_attention is not None
    assert (decoder.cross_attention.heads, decoder.cross_attention.kv_heads) == (2, 2)
    assert [(head.inputs, head.outputs) for head in share.heads] == [(512, 8032)]
    padded = msgspec.structs.replace(t5.heads[0], outputs=32_130)
    one = tensor_parallel_share(msgspec.structs.replace(t5, heads=[padded]), 4)
    assert one.heads[0].outputs == 8033
    assert one.embeddings == t5.embeddings
    # What looks at one position of a sequence stays whole.
    per_sequence = msgspec.structs.replace(t5.heads[0], per="sequence")
    whole = tensor_parallel_share(msgspec.structs.replace(t5, heads=[per_sequence]), 4)
    assert whole.heads == [per_sequence]
    with pytest.raises(InputError, match="do not divide the MLP"):
        tensor_parallel_share(msgspec.structs.replace(t5, blocks=blocks), 8)


def test_key_value_heads_that_divide_or_are_divided() -> None:
    def heads(kv_heads: int, devices: int) -> tuple[int, int]:
        attention = msgspec.structs.replace(LLAMA.blocks[0].attention, heads=24, kv_heads=kv_heads)
        block = msgspec.structs.replace(LLAMA.blocks[0], attention=attention)
        share = tensor_parallel_share(msgspec.structs.replace(LLAMA, blocks=[block]), devices)
        return share.blocks[0].attention.heads, share.blocks[0].attention.kv_heads

    assert heads(6, 2) == (12, 3)
    assert heads(2, 8) == (3, 1)
    assert heads(4, 4) == (6, 1)
    with pytest.raises(InputError, match="its 6 key/value heads and 4 devices"):
        heads(6, 4)
    with pytest.raises(InputError, match="5 devices do not divide its 24 heads"):
        heads(6, 5)


def test_every_collective_of_a_pass() -> None:
    """Two encoder blocks of 2 sums and three decoder blocks of 3, 13 tokens of 512, 4 rows."""
    t5 = find_architecture("t5-small")
    blocks = [
        msgspec.structs.replace(block, count=count)
        for block, count in zip(t5.blocks, (2, 3), strict=True)
    ]
    classifier = msgspec.structs.replace(t5.heads[0], name="classifier", per="sequence")
    both = msgspec.structs.replace(t5, blocks=blocks, heads=[*t5.heads, classifier])
    assert tensor_parallel_ops(both, 13, 4) == [
        Op(
            name="all_reduce",
            part="communication",
            kind="collective",
            count=13,  # 2·2 + 3·3
            shape="13×512",
            flops=0.0,
            activation_elements=13 * 13 * 512.0,
        ),
        Op(
            name="all_gather_logits",
            part="communication",
            kind="collective",
            collective="all_gather",
            count=1,
            shape="4×32128",
            flops=0.0,
            activation_elements=4 * 32_128.0,
        ),
    ]


def test_a_convolutional_network_is_not_split() -> None:
    with pytest.raises(UnsupportedError, match="resnet-18"):
        tensor_parallel_share(find_architecture("resnet-18"), 2)
