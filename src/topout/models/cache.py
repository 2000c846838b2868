"""`StaticCache`: the keys and values of past tokens in tensors that never move."""

import torch

from topout.errors import InputError
from topout.models.config import ModelConfig


class StaticCache:
    """Keys and values per layer, each [B, kv_heads, max_len, head_size], allocated once.

    `length` counts the positions that are filled. `Decoder.forward` without a mask appends at it
    and advances it; with a mask the caller keeps count. Raises InputError for a size below 1.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_len: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        for what, size in (("batch size", batch_size), ("cache length", max_len)):
            if size < 1:
                raise InputError(f"{what} {size} is below 1.", "Give a positive one.")
        shape = (batch_size, config.kv_heads, max_len, config.head_size)
        self.max_len = max_len
        self.length = 0
        # Zeros, not empty: a masked slot must not hold a NaN, since 0 · NaN is NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]

    def bytes(self) -> int:
        """Bytes allocated for keys and values of all layers."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on; raises InputError when so many are not filled."""
        if not 0 <= length <= self.length:
            raise InputError(
                f"cannot truncate a cache of {self.length} positions to {length}.",
                f"Give 0 to {self.length}.",
            )
        self.length = length
