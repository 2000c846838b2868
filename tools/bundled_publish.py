"""Round trained models to fp16 and write them in Hugging Face's folder layout."""

import copy
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from bundled_tokenizer import END_OF_TEXT, END_OF_TEXT_ID
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2LMHeadModel

# The output layer is the embedding again, so its tensor is not stored twice.
TIED_TENSOR = "lm_head.weight"


def write_json(file: Path, content: object) -> None:
    """Write `content` for people to read and for git to compare."""
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def round_to_fp16(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """A float32 copy whose weights are those that a float16 file holds."""
    rounded = copy.deepcopy(model)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.half().float()
    return rounded


def model_config(model: GPT2LMHeadModel) -> dict[str, Any]:
    """The config.json of a published model."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.config.vocab_size,
        "n_positions": model.config.n_positions,
        "n_ctx": model.config.n_positions,
        "n_embd": model.config.n_embd,
        "n_layer": model.config.n_layer,
        "n_head": model.config.n_head,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": model.config.layer_norm_epsilon,
        "initializer_range": model.config.initializer_range,
        "scale_attn_weights": True,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "dtype": "float16",
        "torch_dtype": "float16",  # the older name of the same field
    }


def tokenizer_config(model: GPT2LMHeadModel) -> dict[str, Any]:
    """The tokenizer_config.json of a published model."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.n_positions,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }


def write_model(model: GPT2LMHeadModel, tokenizer_file: Path, folder: Path) -> None:
    """Write a folder that is complete on its own: weights, configuration, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if name != TIED_TENSOR
    }
    weights = folder / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors lets the owner alone read, which would ship like that
    write_json(folder / "config.json", model_config(model))
    write_json(folder / "tokenizer_config.json", tokenizer_config(model))
    shutil.copyfile(tokenizer_file, folder / "tokenizer.json")


def write_held_out(file: Path, python_version: str, modules: Iterable[str]) -> None:
    """Name the held-out modules; their text is Python's, not ours, and is not copied."""
    write_json(file, {"python": python_version, "modules": sorted(modules)})


@torch.inference_mode()
def continue_text(
    model: GPT2LMHeadModel, prompt_ids: list[int], new_tokens: int, temperature: float, seed: int
) -> list[int]:
    """The tokens that `model` adds to a prompt; temperature 0 takes the most likely one."""
    torch.manual_seed(seed)
    ids = list(prompt_ids)
    for _ in range(new_tokens):
        window = torch.tensor([ids[-model.config.n_positions :]])
        logits = model(input_ids=window).logits[0, -1].float()
        if temperature == 0:
            chosen = int(logits.argmax())
        else:
            chosen = int(torch.multinomial((logits / temperature).softmax(-1), 1))
        if chosen == END_OF_TEXT_ID:
            break
        ids.append(chosen)
    return ids[len(prompt_ids) :]
