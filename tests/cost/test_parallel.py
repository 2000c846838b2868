"""What one of several devices holds and sends, by hand."""

import msgspec
import pytest

from topout.cost.ops import product_flops
from topout.cost.parallel import tensor_parallel_ops, tensor_parallel_share
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
    assert len(tensor_parallel_ops(LLAMA, 5, 1, split_head=False)) == 1


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


def test_a_convolutional_network_is_not_split() -> None:
    with pytest.raises(UnsupportedError, match="resnet-18"):
        tensor_parallel_share(find_architecture("resnet-18"), 2)
