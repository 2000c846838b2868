"""Memory of inference: weights, KV cache and one forward pass, and what fits into a machine.

The KV cache keeps, per block and token, a key and a value of each key/value head:
2·L·k·d·bytes·tokens·batch. A block with a window keeps no more tokens than that. An
encoder-decoder keeps the decoder's own, and the keys and values of the encoder's output.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from topout.cost.parallel import device_share
from topout.cost.pipeline import heaviest_stages
from topout.cost.saved_tensors import eager_traits
from topout.cost.training import check_count
from topout.errors import InputError
from topout.models.architecture import (
    WITHOUT_TOKENS,
    Architecture,
    Attention,
    Block,
    Convolution,
    Counted,
    parameters_by_part,
)
from topout.records.cost import CostMemory, MachineFit, TrainingMemory

TABLE_BATCHES = (1, 4, 16, 64)
TABLE_CONTEXTS = (512, 2048, 8192, 32768, 131072)
_LOGIT_BYTES = 4  # the copy that is sampled from

# A CUDA context takes about half a GB, libraries' workspaces and what the allocator cannot use of
# its blocks as much again. On a CPU the operating system pages, so nothing is set aside.
DEFAULT_RESERVE_BYTES = {"gpu": 1_000_000_000, "cpu": 0}
# Beyond this many nothing is searched: a cache of windows alone does not grow with the context.
_SEARCH_LIMIT = 1 << 30


def kv_bytes_per_token(architecture: Architecture, dtype_bytes: float) -> int | None:
    """Bytes that one more token of one sequence adds while all windows hold it.

    None for a model that keeps no cache: encoders and image models.
    """
    if architecture.counted is not None:
        kept = architecture.counted.kept
        grows = sum((t.own_bytes or dtype_bytes) * t.per_token for t in kept if not t.of_source)
        return math.ceil(grows) if kept else None
    blocks = _caching_blocks(architecture)
    if not blocks:
        return None
    return math.ceil(sum(block.count * _pair(block.attention) for block in blocks) * dtype_bytes)


def kv_cache_bytes(
    architecture: Architecture,
    batch_size: int,
    context_len: int,
    dtype_bytes: float,
    *,
    encoder_len: int | None = None,
    tensor_parallel: int = 1,
) -> int | None:
    """Bytes of the cache on one device when every sequence has `context_len` tokens.

    `encoder_len` tokens have been read by the encoder of an encoder-decoder; as many as the
    context unless it says otherwise. None for a model that keeps no cache. Raises InputError for
    sizes below 1 and for devices that do not divide the heads; more devices than
    key/value heads hold copies.
    """
    check_count("batch_size", batch_size)
    check_count("context_len", context_len)
    check_count("encoder_len", encoder_len)
    if architecture.counted is not None:
        device_share(architecture, tensor_parallel)  # refuses more than one device
        return _kept_bytes(architecture.counted, batch_size, context_len, dtype_bytes, encoder_len)
    blocks = _caching_blocks(device_share(architecture, tensor_parallel))
    if not blocks:
        return None
    elements = 0
    for block in blocks:
        window = block.attention.window
        tokens = context_len if window is None else min(context_len, window)
        per_block = tokens * _pair(block.attention)
        if block.cross_attention is not None:
            per_block += (encoder_len or context_len) * _pair(block.cross_attention)
        elements += block.count * per_block
    return math.ceil(batch_size * elements * dtype_bytes)


def _kept_bytes(
    counted: Counted, batch_size: int, context_len: int, dtype_bytes: float, source_len: int | None
) -> int | None:
    """The same where a module was asked what it keeps: numbers of states have their own size."""
    total = sum(
        (each.own_bytes or dtype_bytes)
        * each.numbers((source_len or context_len) if each.of_source else context_len)
        for each in counted.kept
    )
    return math.ceil(batch_size * total) if counted.kept else None


def kv_table(
    architecture: Architecture,
    dtype_bytes: float,
    *,
    batches: Iterable[int] = TABLE_BATCHES,
    contexts: Iterable[int] | None = None,
) -> dict[str, dict[str, int]]:
    """Batch → context → bytes of the cache; empty for a model that keeps none.

    Contexts that are not given are those of TABLE_CONTEXTS that the model allows, and its longest.
    """
    columns = _table_contexts(architecture) if contexts is None else list(contexts)
    table: dict[str, dict[str, int]] = {}
    for batch_size in batches:
        for context_len in columns:
            cache = kv_cache_bytes(architecture, batch_size, context_len, dtype_bytes)
            if cache is not None:
                table.setdefault(str(batch_size), {})[str(context_len)] = cache
    return table


def cost_memory(
    architecture: Architecture,
    *,
    weight_bytes: int,
    batch_size: int,
    context_len: int,
    kv_dtype_bytes: float,
    training: list[TrainingMemory] | None = None,
) -> CostMemory:
    """What the model needs, whatever the machine, as the record that reports it."""
    return CostMemory(
        weight_bytes=weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token(architecture, kv_dtype_bytes),
        kv_cache_bytes=kv_cache_bytes(architecture, batch_size, context_len, kv_dtype_bytes),
        kv_table=kv_table(architecture, kv_dtype_bytes),
        training=training or [],
    )


def device_weight_bytes(
    architecture: Architecture,
    bytes_by_part: dict[str, int],
    tensor_parallel: int,
    stage: Architecture | None = None,
) -> int:
    """Bytes of the weights on one of `tensor_parallel` devices that hold a stage, or the model.

    `bytes_by_part` are the whole model's, by the parts that `parameters_by_part` names: matrices
    are divided, norms, positions and routers are not, key/value heads as far as there are any. A
    stage's copy of a table that a head shares is as large as the table.
    """
    whole = parameters_by_part(architecture)
    share = parameters_by_part(device_share(stage or architecture, tensor_parallel))
    return sum(
        math.ceil(count * bytes_by_part[kept] / whole[kept])
        for part, count in share.items()
        if (kept := part if part in bytes_by_part else "embedding") in bytes_by_part
    )


def forward_working_bytes(
    architecture: Architecture,
    batch_size: int,
    pass_len: int,
    dtype_bytes: float,
    *,
    tensor_parallel: int = 1,
) -> int:
    """What a forward pass over `pass_len` tokens a sequence holds at its fullest, beside the cache.

    Either a block at its widest op, or the logits: of one position a sequence with their fp32 copy,
    of all positions in an encoder. Fused attention holds no scores. An estimate of what
    transformers' modules hold in PyTorch; compiled ones need less.
    """
    check_count("batch_size", batch_size)
    check_count("pass_len", pass_len)
    share = device_share(architecture, tensor_parallel)
    if share.kind in WITHOUT_TOKENS:
        pass_len = share.context_len or pass_len
    if share.counted is not None:
        in_pass = pass_len * share.counted.working_per_token * dtype_bytes
        logits = (share.vocab_size or 0) * (dtype_bytes + _LOGIT_BYTES)
        return math.ceil(batch_size * max(in_pass, logits))
    written_out = eager_traits(architecture.model_type).written_out_gelu
    widest = max((_block_width(block, written_out) for block in share.blocks), default=0)
    pixels = max((_convolution_numbers(each) for each in share.convolutions), default=0)
    in_block = max(pass_len * widest, pixels) * dtype_bytes
    return math.ceil(batch_size * max(in_block, _logit_bytes(share, pass_len, dtype_bytes)))


def _logit_bytes(architecture: Architecture, pass_len: int, dtype_bytes: float) -> float:
    """Of one sequence: the last hidden states and what the last head makes of them."""
    states = pass_len * architecture.width * dtype_bytes
    if not architecture.heads:
        return states
    head = architecture.heads[-1]
    if architecture.kind == "encoder" and head.per == "token":
        return states + pass_len * head.outputs * dtype_bytes
    return states + head.outputs * (dtype_bytes + _LOGIT_BYTES)


def _caching_blocks(architecture: Architecture) -> list[Block]:
    """The blocks that look back: all of a decoder, the causal ones of an encoder-decoder."""
    if architecture.kind == "decoder":
        return architecture.blocks
    if architecture.kind == "encoder_decoder":
        return [block for block in architecture.blocks if block.attention.causal]
    return []


def _pair(attention: Attention) -> int:
    """Numbers of one token's key and value."""
    return 2 * attention.kv_width


def _table_contexts(architecture: Architecture) -> list[int]:
    longest = architecture.context_len
    if longest is None:
        return list(TABLE_CONTEXTS)
    return sorted({context for context in TABLE_CONTEXTS if context < longest} | {longest})


def _block_width(block: Block, written_out_gelu: bool) -> int:
    """Numbers a token that are there at a block's widest op."""
    attention, mlp = block.attention, block.mlp
    # The embeddings, the block's input, the sum after attention, and its norm.
    stream = 4 * block.width
    in_attention = 2 * attention.query_width + 2 * attention.kv_width
    # Gated: both factors and their product; plain: before and after the activation.
    in_mlp = 3 * mlp.width if mlp.gated else 2 * mlp.width
    if written_out_gelu and mlp.activation == "gelu_tanh":
        in_mlp += 2 * mlp.width
    if mlp.experts:
        # Rows sent and returned; gate and up are one tensor, which outlives the activation.
        in_mlp = mlp.experts_per_token * (2 * block.width + in_mlp + mlp.width * mlp.gated)
    return stream + max(in_attention, in_mlp)


def _convolution_numbers(convolution: Convolution) -> int:
    """Of one image: a convolution's input and output, and the branch that it will be added to."""
    pixels = convolution.out_height * convolution.out_width
    inputs = convolution.in_channels * pixels * convolution.stride**2
    return inputs + 2 * convolution.out_channels * pixels


class InferenceLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked to hold at once. Raises InputError for sizes below 1."""

    batch_size: int
    prompt_len: int  # tokens a sequence that go through the model in one pass
    context_len: int  # tokens a sequence that the cache holds at its end
    dtype_bytes: float = 2  # of an activation
    kv_dtype_bytes: float = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for field in ("batch_size", "prompt_len", "context_len"):
            check_count(field, getattr(self, field))


def machine_fit(
    architecture: Architecture,
    memory_bytes: int,
    load: InferenceLoad,
    *,
    weight_bytes_by_part: dict[str, int],
    device: Literal["gpu", "cpu"],
    reserve_bytes: int | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    training_bytes: int | None = None,
) -> MachineFit:
    """What fits into `memory_bytes` of each device; the record says what its fields mean.

    Held are the weights, the KV cache and what one forward pass over the prompt needs;
    `reserve_bytes` stay free, those of DEFAULT_RESERVE_BYTES unless given. `weight_bytes_by_part`
    are the whole model's; `training_bytes` those of one device in training, where it is asked for.
    The largest context is not above the model's own limit. Of a pipeline the fullest stage counts,
    as it holds the caches of all micro-batches. Raises InputError for sizes below 1, or devices
    that do not divide the heads.
    """
    check_count("memory_bytes", memory_bytes)
    reserve = DEFAULT_RESERVE_BYTES[device] if reserve_bytes is None else reserve_bytes
    if reserve < 0:
        raise InputError(f"reserve_bytes is {reserve}.", "Give 0 or more.")
    usable = memory_bytes - reserve
    stages = heaviest_stages(architecture, pipeline_parallel)

    def weights(stage: Architecture, devices: int) -> int:
        return device_weight_bytes(architecture, weight_bytes_by_part, devices, stage)

    def fits(asked: InferenceLoad, devices: int = tensor_parallel) -> bool:
        return all(
            weights(stage, devices) + working_set_bytes(stage, asked, devices) <= usable
            for stage in stages
        )

    def fits_batch(batch_size: int) -> bool:
        return fits(msgspec.structs.replace(load, batch_size=batch_size))

    def fits_context(context_len: int) -> bool:
        return fits(_with_context(architecture, load, context_len))

    return MachineFit(
        memory_bytes=memory_bytes,
        weight_bytes=max(weights(stage, tensor_parallel) for stage in stages),
        fits=fits(load),
        largest_batch=_largest(fits_batch, _SEARCH_LIMIT),
        largest_context=_largest(fits_context, architecture.context_len or _SEARCH_LIMIT)
        if architecture.kind not in WITHOUT_TOKENS
        else None,
        training_bytes=training_bytes,
        training_fits=None if training_bytes is None else training_bytes <= usable,
        devices_needed=next(
            (devices for devices in _splits(architecture) if fits(load, devices)), None
        ),
    )


def working_set_bytes(stage: Architecture, load: InferenceLoad, tensor_parallel: int = 1) -> int:
    """Cache and one forward pass over the prompt, on one device of a stage, or of the model."""
    cache = kv_cache_bytes(
        stage,
        load.batch_size,
        load.context_len,
        load.kv_dtype_bytes,
        encoder_len=load.prompt_len if stage.kind == "encoder_decoder" else None,
        tensor_parallel=tensor_parallel,
    )
    # A model without a cache reads all of its context in every pass.
    working = forward_working_bytes(
        stage,
        load.batch_size,
        load.context_len if cache is None else load.prompt_len,
        load.dtype_bytes,
        tensor_parallel=tensor_parallel,
    )
    return (cache or 0) + working


def _with_context(
    architecture: Architecture, load: InferenceLoad, context_len: int
) -> InferenceLoad:
    if architecture.kind == "encoder_decoder":  # the encoder's side stays as long as it is
        return msgspec.structs.replace(load, context_len=context_len)
    prompt_len = min(load.prompt_len, context_len)
    return msgspec.structs.replace(load, context_len=context_len, prompt_len=prompt_len)


def _largest(fits: Callable[[int], bool], limit: int) -> int | None:
    """The largest number up to `limit` that fits, where all smaller ones do; None: not even one."""
    if not fits(1):
        return None
    low, high = 1, 2
    while high <= limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _splits(architecture: Architecture) -> list[int]:
    """Tensor-parallel sizes that the model allows, ascending: they divide heads and MLP widths."""
    if not architecture.blocks:
        return [1]
    common = math.gcd(
        *(block.attention.heads for block in architecture.blocks),
        *(block.mlp.width for block in architecture.blocks),
        *(block.mlp.shared_width for block in architecture.blocks),
    )
    kv_heads = {block.attention.kv_heads for block in architecture.blocks}
    return [
        devices
        for devices in range(1, common + 1)
        if common % devices == 0 and all(k % devices == 0 or devices % k == 0 for k in kv_heads)
    ]
