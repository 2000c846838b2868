"""What fits into a machine's memory, and that one more does not."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from tests.cost.example_architectures import (
    BERT_BASE,
    GPT2,
    LLAMA_2_7B,
    LLAMA_2_70B,
    T5_SMALL,
)
from topout.cost.memory import (
    InferenceLoad,
    device_weight_bytes,
    machine_fit,
    working_set_bytes,
)
from topout.errors import InputError
from topout.models.architecture import Architecture, parameters_by_part
from topout.records.cost import MachineFit

brief = settings(max_examples=40, deadline=None)
GB = 10**9


def in_16_bit(architecture: Architecture) -> dict[str, int]:
    return {part: 2 * count for part, count in parameters_by_part(architecture).items()}


def load(batch: int = 1, prompt: int = 128, context: int = 1024) -> InferenceLoad:
    return InferenceLoad(batch_size=batch, prompt_len=prompt, context_len=context)


def fit(architecture: Architecture, memory: int, asked: InferenceLoad, **more: Any) -> MachineFit:
    more = {"device": "gpu", "weight_bytes_by_part": in_16_bit(architecture)} | more
    return machine_fit(architecture, memory, asked, **more)


def test_llama_on_an_80_gb_device() -> None:
    found = fit(LLAMA_2_7B, 80 * GB, load(context=4096))
    # Left after 13,476,831,232 bytes of weights and 1 GB set aside: 65,523,168,768. A sequence
    # takes 2,147,483,648 of cache and 128 tokens · 98,816 = 12,648,448 in a pass: 30.3 of them.
    assert found == MachineFit(
        memory_bytes=80 * GB,
        weight_bytes=13_476_831_232,
        fits=True,
        largest_batch=30,
        largest_context=4096,  # the model's own limit
        devices_needed=1,
    )


def test_70b_needs_more_than_one_device() -> None:
    found = fit(LLAMA_2_70B, 80 * GB, load())
    assert (found.fits, found.largest_batch, found.largest_context) == (False, None, None)
    # 138 GB of weights over two devices are 69 GB each.
    assert found.devices_needed == 2
    on_two = fit(LLAMA_2_70B, 80 * GB, load(), tensor_parallel=2)
    assert on_two.fits
    assert on_two.weight_bytes == pytest.approx(137.95e9 / 2, rel=0.001)


def test_no_number_of_devices_suffices() -> None:
    found = fit(GPT2, 10**7, load(), reserve_bytes=0)
    assert found.devices_needed is None
    assert not found.fits


def test_devices_divide_the_heads() -> None:
    weights = sum(in_16_bit(GPT2).values())
    found = fit(GPT2, weights // 3, load(), reserve_bytes=0)
    # 12 heads: 1, 2, 3, 4, 6 or 12 devices; 4 leave room for more than a third does.
    assert found.devices_needed == 4


def test_a_part_of_the_memory_is_set_aside() -> None:
    weights = sum(in_16_bit(GPT2).values())
    needed = weights + working_set_bytes(GPT2, load())
    assert needed > weights
    assert fit(GPT2, needed, load(), device="cpu").fits
    assert not fit(GPT2, needed - 1, load(), device="cpu").fits
    assert not fit(GPT2, needed + GB - 1, load()).fits
    assert fit(GPT2, needed + GB, load()).fits
    assert fit(GPT2, needed + 5, load(), reserve_bytes=5).fits


def test_training_is_compared_with_the_same_memory() -> None:
    assert fit(GPT2, 3 * GB, load()).training_fits is None
    assert fit(GPT2, 3 * GB, load(), training_bytes=2 * GB).training_fits
    assert fit(GPT2, 3 * GB, load(), training_bytes=2 * GB + 1).training_fits is False


def test_an_encoder_has_no_cache() -> None:
    asked = load(prompt=512, context=512)
    found = fit(BERT_BASE, 2 * GB, asked)
    assert found.fits
    assert found.largest_context == 512
    # 219 MB of weights; a sequence of 512 tokens · (4·768 + 2·3072)·2 bytes = 9,437,184.
    weights = sum(in_16_bit(BERT_BASE).values())
    assert found.largest_batch == (GB - weights) // 9_437_184


def test_an_encoder_decoder_without_a_limit() -> None:
    found = fit(T5_SMALL, 3 * GB, load(prompt=100, context=100))
    assert T5_SMALL.context_len is None
    assert found.largest_context is not None
    longer = load(prompt=100, context=found.largest_context + 1)
    assert not fit(T5_SMALL, 3 * GB, longer).fits


def test_the_sum_of_weights_cache_and_pass() -> None:
    """GPT-2 on two devices: 2 sequences of 30, a prompt of 7, activations of 4 bytes, keys of 1."""
    asked = InferenceLoad(
        batch_size=2, prompt_len=7, context_len=30, dtype_bytes=4, kv_dtype_bytes=1
    )
    # The cache of a token, 18,432 numbers, is halved. Of the MLP there is half: 4·768 + 4·1536
    # numbers in each of 7 tokens.
    cache, working = 2 * 30 * 9216, 2 * 7 * 9216 * 4
    assert working_set_bytes(GPT2, asked, 2) == cache + working
    assert device_weight_bytes(GPT2, {"norms": 11}, 2) == 11


def test_a_model_without_a_cache_reads_its_whole_context() -> None:
    asked = load(batch=2, prompt=5, context=100)
    # 100 tokens · (4·768 + 2·3072)·2 bytes a sequence.
    assert working_set_bytes(BERT_BASE, asked) == 2 * 100 * 9216 * 2


def test_an_encoders_output_is_as_long_as_the_prompt() -> None:
    asked = load(batch=2, prompt=300, context=9)
    # Each side 12,288 bytes a token: 9 of the decoder and 300 of the encoder; a pass of 300 tokens
    # is 4·512 + 2·2048 wide.
    expected = 2 * 12_288 * (9 + 300) + 2 * 300 * 6144 * 2
    assert working_set_bytes(T5_SMALL, asked) == expected


def test_a_shorter_context_than_the_prompt_shortens_the_prompt() -> None:
    # At a context of 10 a sequence of GPT-2 takes 10 · 36,864 bytes, and a pass of 10 tokens as
    # much as the logits, 10·1536 + 50,257·6; one of 11 as a block, 11·15,360·2.
    needed = 10 * 36_864 + 10 * 1536 + 50_257 * 6
    more = 11 * 36_864 + 11 * 15_360 * 2 - needed
    for spare, longest in ((0, 10), (more - 1, 10), (more, 11)):
        found = fit(
            GPT2,
            needed + spare,
            load(prompt=500, context=1000),
            weight_bytes_by_part={},
            reserve_bytes=0,
        )
        assert (found.largest_context, found.fits, found.weight_bytes) == (longest, False, 0)


def test_a_cache_of_windows_alone_has_no_largest_context() -> None:
    block = GPT2.blocks[0]
    slides = msgspec.structs.replace(
        block, attention=msgspec.structs.replace(block.attention, window=8)
    )
    endless = msgspec.structs.replace(GPT2, blocks=[slides], context_len=None)
    found = fit(endless, GB, load(prompt=4), reserve_bytes=0)
    assert found.largest_context == 2**30
    bare = msgspec.structs.replace(endless, kind="image")
    assert fit(bare, GB, load(prompt=4), reserve_bytes=0).largest_context is None


def test_devices_that_a_model_allows() -> None:
    """1, 2, 4 or 12: 24 heads, an MLP of 36, a shared one of 48, 4 key/value heads."""

    def needed(spare: int, **mlp: int) -> int | None:
        block = LLAMA_2_70B.blocks[0]
        attention = msgspec.structs.replace(block.attention, heads=24, kv_heads=4, head_size=2)
        changed = msgspec.structs.replace(block.mlp, **({"width": 36, "shared_width": 48} | mlp))
        small = msgspec.structs.replace(
            LLAMA_2_70B,
            blocks=[msgspec.structs.replace(block, count=1, attention=attention, mlp=changed)],
        )
        weights = {"head": 12 * 10**9}
        found = fit(
            small, spare, load(prompt=1, context=1), weight_bytes_by_part=weights, device="cpu"
        )
        return found.devices_needed

    # 12 GB of heads, and well under 50 MB of the rest: 12, 6, 3 and 1 GB on 1, 2, 4, 12 devices.
    margin = 5 * 10**7
    assert needed(12 * GB + margin) == 1
    assert needed(12 * GB - margin) == 2
    assert needed(6 * GB - margin) == 4
    assert needed(3 * GB - margin) == 12
    assert needed(GB - margin) is None
    assert needed(6 * GB - margin, width=39) is None  # 3 devices would divide it, not the heads
    assert needed(6 * GB - margin, shared_width=50) is None  # 2 alone


@brief
@given(
    st.integers(10**8, 10**11),
    st.integers(1, 64),
    st.integers(1, 1024),
    st.sampled_from([1, 2, 4]),
)
def test_the_largest_fits_and_one_more_does_not(
    memory: int, batch: int, context: int, devices: int
) -> None:
    prompt = min(64, context)
    more: dict[str, Any] = {"tensor_parallel": devices, "reserve_bytes": 10**7}

    def fits(batch_size: int, context_len: int) -> bool:
        changed = load(batch_size, min(prompt, context_len), context_len)
        return fit(GPT2, memory, changed, **more).fits

    asked = load(batch, prompt, context)
    found = fit(GPT2, memory, asked, **more)
    largest_batch, largest_context = found.largest_batch, found.largest_context
    if largest_batch is None:
        assert not fits(1, context)
    else:
        assert fits(largest_batch, context)
        assert not fits(largest_batch + 1, context)
        assert found.fits == (batch <= largest_batch)
    if largest_context is None:
        assert not fits(batch, 1)
    else:
        assert fits(batch, largest_context)
        assert largest_context == 1024 or not fits(batch, largest_context + 1)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="memory_bytes is 0"):
        fit(GPT2, 0, load())
    with pytest.raises(InputError, match="reserve_bytes is -1"):
        fit(GPT2, GB, load(), reserve_bytes=-1)
    with pytest.raises(InputError, match="7 devices do not divide"):
        fit(GPT2, GB, load(), tensor_parallel=7)
    for name in ("batch_size", "prompt_len", "context_len"):
        fields = {"batch_size": 1, "prompt_len": 1, "context_len": 1} | {name: 0}
        with pytest.raises(InputError, match=f"{name} is 0"):
            InferenceLoad(**fields)


def test_the_fullest_stage_has_to_fit() -> None:
    """Of four stages the first holds the table of positions as well, the last a copy of tokens."""
    found = fit(GPT2, GB, load(), reserve_bytes=0, pipeline_parallel=4)
    blocks, tokens, positions = 3 * 7_087_872, 50_257 * 768, 1024 * 768
    assert found.weight_bytes == 2 * (blocks + tokens + positions)
    # A quarter of the cache of 1024 tokens in each sequence, 36,864 bytes a token in all; the
    # last stage has the logits, the first a block's 15,360 numbers in each of 128 tokens.
    first = 2 * (blocks + tokens + positions) + 1024 * 9216 + 128 * 15_360 * 2
    assert fit(GPT2, first, load(), reserve_bytes=0, pipeline_parallel=4).fits
    assert not fit(GPT2, first - 1, load(), reserve_bytes=0, pipeline_parallel=4).fits
