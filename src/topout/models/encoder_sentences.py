"""Sentence embeddings: one vector for each text, near for texts that mean the same."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from topout.models.encoder import Encoder
from topout.models.padding import pad_rows
from topout.models.tokenizer import Tokenizer


def mean_pool(hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean [B, C] of the hidden states [B, S, C] where `mask` [B, S] is not 0.

    A row without a token gives zeros. Source: arXiv 1908.10084, section 3.
    """
    if mask is None:
        return hidden.mean(1)
    weights = mask.bool().to(hidden.dtype)[:, :, None]  # [B, S, 1]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def embed_texts(
    encoder: Encoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    max_len: int | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Vectors [len(texts), C] of length 1, so that their products are cosines.

    Texts are cut to `max_len` tokens, by default the context length. Runs in the mode that the
    encoder is in, without gradients. Raises InputError when a text has no tokens.
    """
    room = encoder.config.context_len if max_len is None else max_len
    rows = [tokenizer.encode_sequence(text, room) for text in texts]
    device = encoder.token_embedding.weight.device
    pad_id = encoder.config.pad_id or 0
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            tokens, mask = pad_rows(rows[start : start + batch_size], pad_id)
            tokens, mask = tokens.to(device), mask.to(device)
            output = encoder(tokens, mask)
            vectors.append(F.normalize(mean_pool(output.hidden, mask).float(), dim=-1))
    return torch.cat(vectors) if vectors else torch.empty(0, encoder.config.width, device=device)
