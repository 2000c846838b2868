"""The KV cache, weights on a device, and the working memory of a forward pass."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
import torch
from hypothesis import given, settings

from tests.cost import small_models
from tests.cost.example_architectures import (
    BERT_BASE,
    GPT2,
    LLAMA_2_7B,
    LLAMA_2_70B,
    MIXTRAL,
    T5_SMALL,
    llama,
)
from tests.cost.live_bytes import LiveBytes
from topout.cost.memory import (
    cost_memory,
    device_weight_bytes,
    forward_working_bytes,
    kv_bytes_per_token,
    kv_cache_bytes,
    kv_table,
)
from topout.errors import InputError
from topout.models.architecture import Architecture, Convolution, parameters_by_part
from topout.records.cost import CostMemory, TrainingMemory

brief = settings(max_examples=50, deadline=None)
sizes = st.integers(1, 5000)


def windowed(architecture: Architecture, window: int) -> Architecture:
    """Every block slides, as in Mistral."""
    blocks = [
        msgspec.structs.replace(
            block, attention=msgspec.structs.replace(block.attention, window=window)
        )
        for block in architecture.blocks
    ]
    return msgspec.structs.replace(architecture, blocks=blocks)


# --- the cache ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "dtype_bytes", "expected"),
    [
        (GPT2, 4, 73_728),  # 2·12 layers·12 heads·64·4 bytes
        (GPT2, 2, 36_864),
        (LLAMA_2_7B, 2, 524_288),  # 2·32·32·128·2
        (LLAMA_2_70B, 2, 327_680),  # 2·80·8 key/value heads of 64·128·2
        (MIXTRAL, 1, 65_536),  # 2·32·8·128·1: experts have no cache of their own
        (LLAMA_2_7B, 0.5, 131_072),  # four bits
        (T5_SMALL, 4, 24_576),  # 2·6 decoder blocks·8·64·4
    ],
)
def test_bytes_of_one_token(architecture: Architecture, dtype_bytes: float, expected: int) -> None:
    assert kv_bytes_per_token(architecture, dtype_bytes) == expected


def test_llama_at_its_whole_context() -> None:
    # 524,288 bytes · 4096 tokens = 2 GiB a sequence.
    assert kv_cache_bytes(LLAMA_2_7B, 1, 4096, 2) == 2_147_483_648
    assert kv_cache_bytes(LLAMA_2_7B, 16, 4096, 2) == 16 * 2_147_483_648


def test_a_window_bounds_the_cache() -> None:
    sliding = windowed(GPT2, 100)
    assert kv_cache_bytes(sliding, 2, 100, 2) == kv_cache_bytes(GPT2, 2, 100, 2)
    assert kv_cache_bytes(sliding, 2, 1000, 2) == kv_cache_bytes(GPT2, 2, 100, 2)


def test_layers_with_and_without_a_window() -> None:
    """As in Gemma 3: some layers stop growing, others go on."""
    block = msgspec.structs.replace(GPT2.blocks[0], count=6)
    slides = windowed(GPT2, 100).blocks[0]
    mixed = msgspec.structs.replace(GPT2, blocks=[block, msgspec.structs.replace(slides, count=6)])
    # Of 36,864 bytes a token half grows to 1000 tokens and half to 100.
    assert kv_cache_bytes(mixed, 1, 1000, 2) == 18_432 * 1000 + 18_432 * 100


def test_an_encoder_decoder_keeps_both_sides() -> None:
    # A token of either side is 2·6·8·64·4 = 24,576 bytes; the encoder's own blocks keep none.
    assert kv_cache_bytes(T5_SMALL, 3, 20, 4, encoder_len=50) == 3 * 24_576 * (20 + 50)
    assert kv_cache_bytes(T5_SMALL, 3, 20, 4) == 3 * 24_576 * 40


def test_an_encoder_keeps_no_cache() -> None:
    assert kv_bytes_per_token(BERT_BASE, 2) is None
    assert kv_cache_bytes(BERT_BASE, 1, 512, 2) is None
    assert kv_table(BERT_BASE, 2) == {}


@pytest.mark.parametrize(("devices", "part"), [(1, 1), (2, 2), (8, 8), (16, 8), (64, 8)])
def test_devices_share_the_cache_as_far_as_there_are_heads(devices: int, part: int) -> None:
    whole = kv_cache_bytes(LLAMA_2_70B, 4, 100, 2)
    assert whole is not None
    assert kv_cache_bytes(LLAMA_2_70B, 4, 100, 2, tensor_parallel=devices) == whole // part


def test_the_table_ends_at_the_models_longest_context() -> None:
    table = kv_table(LLAMA_2_7B, 2)
    assert list(table) == ["1", "4", "16", "64"]
    assert list(table["1"]) == ["512", "2048", "4096"]
    assert table["4"]["4096"] == 4 * 2_147_483_648
    chosen = kv_table(LLAMA_2_7B, 2, batches=[3], contexts=[7])
    assert chosen == {"3": {"7": 3 * 7 * 524_288}}


def test_the_record() -> None:
    assert cost_memory(
        GPT2, weight_bytes=5, batch_size=2, context_len=10, kv_dtype_bytes=2
    ) == CostMemory(
        weight_bytes=5,
        kv_bytes_per_token=36_864,
        kv_cache_bytes=737_280,
        kv_table=kv_table(GPT2, 2),
        training=[],
    )


@brief
@given(sizes, sizes, st.one_of(st.none(), sizes))
def test_the_cache_never_shrinks(batch: int, context: int, window: int | None) -> None:
    architecture = GPT2 if window is None else windowed(GPT2, window)

    def cache(batch_size: int, context_len: int) -> int:
        found = kv_cache_bytes(architecture, batch_size, context_len, 2)
        assert found is not None
        return found

    assert cache(batch, context) <= cache(batch, context + 1)
    assert cache(batch + 1, context) * batch == cache(batch, context) * (batch + 1)
    if window is None:
        assert cache(batch, context) == batch * context * 36_864


@pytest.mark.parametrize(("batch", "context"), [(0, 1), (1, 0), (-1, 1), (1, -5)])
def test_sizes_are_counts(batch: int, context: int) -> None:
    with pytest.raises(InputError, match="Give 1 or more"):
        kv_cache_bytes(GPT2, batch, context, 2)


def test_devices_have_to_divide_the_heads() -> None:
    with pytest.raises(InputError, match=r"gpt2: .*divide"):
        kv_cache_bytes(GPT2, 1, 1, 2, tensor_parallel=5)


# --- weights ------------------------------------------------------------------------------------


def test_norms_are_on_every_device() -> None:
    # Llama-2-7B: 65 norms of 4096 are 266,240 of 6,738,415,616 parameters; the rest is halved.
    whole = {part: 2 * count for part, count in parameters_by_part(LLAMA_2_7B).items()}
    assert sum(whole.values()) == 2 * 6_738_415_616
    assert device_weight_bytes(LLAMA_2_7B, whole, 1) == 2 * 6_738_415_616
    assert device_weight_bytes(LLAMA_2_7B, whole, 2) == 6_738_415_616 + 266_240


def test_more_devices_than_key_value_heads_hold_copies() -> None:
    whole = {"attention": parameters_by_part(LLAMA_2_70B)["attention"]}
    # A block: Q and output 2·8192² = 134,217,728, K and V 2·8192·1024 = 16,777,216.
    assert whole["attention"] == 80 * 150_994_944
    # On 16 devices Q and output / 16, K and V / 8.
    expected = 80 * (134_217_728 // 16 + 16_777_216 // 8)
    assert device_weight_bytes(LLAMA_2_70B, whole, 16) == expected


# --- a forward pass -----------------------------------------------------------------------------


def test_a_forward_pass_of_llama() -> None:
    # 4·4096 along the residual stream and 3·11008 in the MLP, 100 tokens, 2 bytes.
    assert forward_working_bytes(LLAMA_2_7B, 1, 100, 2) == 100 * 2 * (16_384 + 33_024)
    # One token: its 4096 hidden states and 32,000 logits with their fp32 copy are less.
    one = forward_working_bytes(LLAMA_2_7B, 1, 1, 2)
    assert one == max(2 * (16_384 + 33_024), 2 * 4096 + 32_000 * (2 + 4))


@pytest.mark.parametrize(
    ("architecture", "numbers"),
    [
        # 4·768 along the stream; the MLP before and after its activation, which GPT-2 writes out
        # with two steps between: 4·3072.
        (GPT2, 3072 + 12_288),
        # Another family with the same activation does not.
        (msgspec.structs.replace(GPT2, model_type="llama"), 3072 + 6144),
        # BERT's own GELU is one step.
        (BERT_BASE, 3072 + 6144),
        # Two experts' rows of 4096 in and out, gate, up and product of 14,336, and gate with up
        # as one tensor: 2·(8192 + 43,008 + 14,336).
        (MIXTRAL, 16_384 + 131_072),
        # An MLP of 100 is narrower than attention: 2·(32 + 8)·128.
        (llama("narrow", 2, 4096, 8, 100, 32_000, 4096), 16_384 + 10_240),
        # The wider of two stacks counts: 4·512 and 2·2048.
        (T5_SMALL, 2048 + 4096),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_widest_op_of_a_block(architecture: Architecture, numbers: int) -> None:
    # So many tokens that the logits of one position are less.
    assert forward_working_bytes(architecture, 3, 500, 2) == 3 * 500 * 2 * numbers


def test_a_mixture_that_is_not_gated() -> None:
    plain = msgspec.structs.replace(
        MIXTRAL.blocks[0], mlp=msgspec.structs.replace(MIXTRAL.blocks[0].mlp, gated=False)
    )
    one = msgspec.structs.replace(MIXTRAL, blocks=[plain])
    # 2·(8192 + 2·14,336)
    assert forward_working_bytes(one, 1, 500, 2) == 500 * 2 * (16_384 + 73_728)


def test_logits_at_the_end_of_a_pass() -> None:
    # GPT-2, 4 tokens in fp32: hidden states 4·768·4, and 50,257 logits with their copy.
    assert forward_working_bytes(GPT2, 3, 4, 4) == 3 * (4 * 768 * 4 + 50_257 * (4 + 4))
    # On two devices half of the vocabulary, rounded up.
    halved = forward_working_bytes(GPT2, 1, 1, 2, tensor_parallel=2)
    assert halved == 768 * 2 + 25_129 * (2 + 4)
    # An encoder's logits of all positions, in its own data type.
    head = msgspec.structs.replace(GPT2.heads[0], outputs=30_522)
    scored = msgspec.structs.replace(BERT_BASE, heads=[head])
    assert forward_working_bytes(scored, 2, 10, 2) == 2 * (10 * 768 * 2 + 10 * 30_522 * 2)
    # A classifier's are of one position; without a head the hidden states are all there is.
    wide = msgspec.structs.replace(BERT_BASE.heads[0], outputs=90_000)
    classified = msgspec.structs.replace(BERT_BASE, heads=[head, wide])
    assert forward_working_bytes(classified, 1, 1, 2) == 768 * 2 + 90_000 * 6
    bare = msgspec.structs.replace(BERT_BASE, heads=[], blocks=[], width=100)
    assert forward_working_bytes(bare, 3, 7, 2) == 3 * 7 * 100 * 2


def test_an_images_tokens_and_pixels() -> None:
    """An image has the tokens of its patches, whatever pass is asked for."""
    image = msgspec.structs.replace(BERT_BASE, kind="image", heads=[], context_len=197)
    assert forward_working_bytes(image, 1, 5, 2) == 197 * 2 * (3072 + 6144)
    convolution = Convolution(
        name="stem",
        count=1,
        in_channels=3,
        out_channels=8,
        kernel=7,
        stride=2,
        out_height=5,
        out_width=7,
        bias=False,
        batch_norm=True,
    )
    small = msgspec.structs.replace(convolution, name="small", out_height=1)
    convolved = msgspec.structs.replace(
        image, blocks=[], convolutions=[convolution, small], width=1
    )
    # 5·7 pixels: 3·4 inputs of each, 8 outputs and as many of the branch to be added.
    assert forward_working_bytes(convolved, 2, 1, 4) == 2 * 4 * (35 * 12 + 2 * 8 * 35)
    no_length = msgspec.structs.replace(image, context_len=None)
    assert forward_working_bytes(no_length, 1, 5, 2) == 5 * 2 * (3072 + 6144)


@pytest.mark.parametrize(
    ("longest", "columns"),
    [
        (None, [512, 2048, 8192, 32_768, 131_072]),
        (2048, [512, 2048]),
        (2049, [512, 2048, 2049]),
        (100, [100]),
    ],
)
def test_contexts_of_the_table(longest: int | None, columns: list[int]) -> None:
    model = msgspec.structs.replace(GPT2, context_len=longest)
    table = kv_table(model, 2, batches=[2])
    assert table == {"2": {str(each): 2 * each * 36_864 for each in columns}}


def test_parts_of_a_byte() -> None:
    """Bytes are rounded up: 2·12·768 elements a token of a tenth of a byte."""
    assert kv_bytes_per_token(GPT2, 0.1) == 1844  # 1843.2
    assert kv_cache_bytes(GPT2, 1, 3, 0.1) == 5530  # 5529.6
    # Of Llama's weights norms are on both devices, and of 101 bytes of heads 50.5.
    assert device_weight_bytes(LLAMA_2_7B, {"norms": 101, "head": 101}, 1) == 202
    assert device_weight_bytes(LLAMA_2_7B, {"norms": 101, "head": 101}, 2) == 101 + 51


def test_the_record_holds_the_training_table() -> None:
    row = TrainingMemory(
        recompute="none",
        zero_stage=0,
        weights_bytes=1,
        gradients_bytes=2,
        optimizer_bytes=3,
        activations_bytes=4,
        total_bytes=10,
    )
    found = cost_memory(
        T5_SMALL, weight_bytes=5, batch_size=2, context_len=10, kv_dtype_bytes=4, training=[row]
    )
    assert found.training == [row]
    # 24,576 bytes a token of either side, 2·(10 + 10) of them.
    assert (found.kv_bytes_per_token, found.kv_cache_bytes) == (24_576, 40 * 24_576)


@pytest.mark.parametrize(
    ("family", "vocab"),
    [("gpt2", 50), ("llama", 50), ("gemma", 50), ("mixtral", 50), ("bert", 50), ("bert", 4000)],
)
def test_a_forward_pass_of_pytorch(family: str, vocab: int) -> None:
    """What is alive at the fullest moment of a prefill, within 6 %."""
    model, architecture = small_models.build(
        family, torch.float32, vocab_size=vocab, num_hidden_layers=4
    )
    tokens = torch.randint(0, 50, (8, 30))
    caching: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1}
    live = LiveBytes(*model.parameters(), *model.buffers(), tokens)
    with torch.inference_mode(), live:
        model.eval()(input_ids=tokens, **({} if family == "bert" else caching))
    cache = kv_cache_bytes(architecture, 8, 30, 4) or 0
    predicted = cache + forward_working_bytes(architecture, 8, 30, 4)
    assert predicted == pytest.approx(live.peak, rel=0.06)


@brief
@given(sizes, sizes)
def test_a_longer_pass_holds_more(batch: int, length: int) -> None:
    for architecture in (GPT2, BERT_BASE, T5_SMALL):
        held = [
            forward_working_bytes(architecture, b, n, 2)
            for b, n in ((batch, length), (batch, length + 1), (batch + 1, length))
        ]
        assert held[0] <= held[1]
        assert held[0] < held[2]
