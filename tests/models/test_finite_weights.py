"""Weights that are NaN or infinite are refused by their name, whatever loads them."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models import tiny, tiny_encoders
from topout.errors import WeightsError
from topout.models.load import load_decoder, load_encoder, load_transformers, refuse_non_finite
from topout.models.source import resolve_encoder, resolve_model


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("fields", [tiny.GPT2, tiny.LLAMA], ids=["gpt2", "llama"])
def test_weights_that_are_no_numbers_are_refused_by_name(
    bad: float, fields: tiny.Fields, tmp_path: Path
) -> None:
    tensors = tiny.make_tensors(fields)
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name].view(-1)[-1] = bad
    folder = tiny.write_model(tmp_path / "model", fields)
    save_file(tensors, folder / "model.safetensors")
    source = resolve_model(str(folder))
    for load in (load_decoder, load_transformers):
        with pytest.raises(WeightsError, match=rf"^{name} of .*holds NaN or infinite values"):
            load(source)


def test_an_encoders_weights_are_held_to_the_same(tmp_path: Path) -> None:
    tiny_encoders.write_reference(tmp_path, tiny_encoders.BERT)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = next(each for each in sorted(tensors) if each.endswith("key.weight"))
    tensors[name][0, 0] = math.nan
    save_file(tensors, path)
    with pytest.raises(WeightsError, match="holds NaN or infinite values"):
        load_encoder(resolve_encoder(str(tmp_path)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_weights_whose_sum_overflows_are_numbers(dtype: torch.dtype) -> None:
    largest = torch.full((4, 4), torch.finfo(dtype).max, dtype=dtype)
    refuse_non_finite(largest, "large")
    largest[3, 3] = math.inf
    with pytest.raises(WeightsError, match=r"^large holds NaN"):
        refuse_non_finite(largest, "large")


def test_opposite_infinities_do_not_hide_in_a_sum() -> None:
    with pytest.raises(WeightsError):
        refuse_non_finite(torch.tensor([math.inf, -math.inf]), "both")
