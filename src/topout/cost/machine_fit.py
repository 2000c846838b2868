"""What fits into a machine's memory: the workload asked for, the largest batch and context."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from topout.cost.memory import device_weight_bytes, forward_working_bytes, kv_cache_bytes
from topout.cost.training_step import check_count
from topout.errors import InputError
from topout.models.architecture import Architecture
from topout.records.cost import MachineFit

# A CUDA context takes about half a GB, libraries' workspaces and what the allocator cannot use of
# its blocks as much again. On a CPU the operating system pages, so nothing is set aside.
DEFAULT_RESERVE_BYTES = {"gpu": 1_000_000_000, "cpu": 0}
# Beyond this many nothing is searched: a cache of windows alone does not grow with the context.
_SEARCH_LIMIT = 1 << 30


class InferenceLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked to hold at once. Raises InputError for sizes that are no counts."""

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
    training_bytes: int | None = None,
) -> MachineFit:
    """What fits into `memory_bytes` of each device; the record says what its fields mean.

    Held are the weights, the KV cache and what one forward pass over the prompt needs;
    `reserve_bytes` stay free, those of DEFAULT_RESERVE_BYTES unless given. `weight_bytes_by_part`
    are the whole model's; `training_bytes` those of one device in training, where it is asked for.
    The largest context is not above the model's own limit. Raises InputError for sizes that are no
    counts, or devices that do not divide the heads.
    """
    check_count("memory_bytes", memory_bytes)
    reserve = DEFAULT_RESERVE_BYTES[device] if reserve_bytes is None else reserve_bytes
    if reserve < 0:
        raise InputError(f"reserve_bytes is {reserve}.", "Give 0 or more.")
    usable = memory_bytes - reserve

    def fits(asked: InferenceLoad, devices: int = tensor_parallel) -> bool:
        needed = load_bytes(architecture, asked, weight_bytes_by_part, devices)
        return needed <= usable

    def fits_batch(batch_size: int) -> bool:
        return fits(msgspec.structs.replace(load, batch_size=batch_size))

    def fits_context(context_len: int) -> bool:
        return fits(_with_context(architecture, load, context_len))

    return MachineFit(
        memory_bytes=memory_bytes,
        weight_bytes=device_weight_bytes(architecture, weight_bytes_by_part, tensor_parallel),
        fits=fits(load),
        largest_batch=_largest(fits_batch, _SEARCH_LIMIT),
        largest_context=_largest(fits_context, architecture.context_len or _SEARCH_LIMIT)
        if architecture.kind != "image"
        else None,
        training_fits=None if training_bytes is None else training_bytes <= usable,
        devices_needed=next(
            (devices for devices in _splits(architecture) if fits(load, devices)), None
        ),
    )


def load_bytes(
    architecture: Architecture,
    load: InferenceLoad,
    weight_bytes_by_part: dict[str, int],
    tensor_parallel: int = 1,
) -> int:
    """Weights, cache and one forward pass over the prompt, on one device."""
    cache = kv_cache_bytes(
        architecture,
        load.batch_size,
        load.context_len,
        load.kv_dtype_bytes,
        encoder_len=load.prompt_len if architecture.kind == "encoder_decoder" else None,
        tensor_parallel=tensor_parallel,
    )
    # A model without a cache reads all of its context in every pass.
    pass_len = load.context_len if cache is None else load.prompt_len
    working = forward_working_bytes(
        architecture,
        load.batch_size,
        pass_len,
        load.dtype_bytes,
        tensor_parallel=tensor_parallel,
    )
    weights = device_weight_bytes(architecture, weight_bytes_by_part, tensor_parallel)
    return weights + (cache or 0) + working


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
