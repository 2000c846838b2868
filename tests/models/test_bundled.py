import ast
import json
import math
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

BUNDLED = Path(__file__).parents[2] / "src/topout/models/bundled"
NAMES = ("pycode-7m", "pycode-1m")
RECORD: dict[str, Any] = json.loads((BUNDLED / "training.json").read_text("utf-8"))
TOKENIZER = Tokenizer.from_file(str(BUNDLED / "pycode-7m" / "tokenizer.json"))

# A held-out module that hardly changes from one Python version to the next, and what the models
# lose on it with the text of Python 3.11, in nats per token.
SLICE = "csv.py"
SLICE_NATS_PER_TOKEN = {"pycode-7m": 2.9015, "pycode-1m": 4.1383}


@cache
def load(name: str) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(BUNDLED / name, dtype=torch.float32)


@torch.inference_mode()
def slice_nats_per_token(model: GPT2LMHeadModel) -> float:
    text = (Path(sysconfig.get_paths()["stdlib"]) / SLICE).read_text("utf-8")
    ids = torch.tensor([0, *TOKENIZER.encode(text).ids])
    nats = 0.0
    for start in range(0, len(ids) - 1, 512):
        window = ids[start : start + 513]
        log_probs = model(input_ids=window[None, :-1]).logits[0].log_softmax(-1)
        nats -= float(log_probs.gather(1, window[1:, None]).sum())
    return nats / (len(ids) - 1)


@torch.inference_mode()
def continue_greedily(model: GPT2LMHeadModel, prompt: str, new_tokens: int) -> str:
    ids = [0, *TOKENIZER.encode(prompt).ids]
    for _ in range(new_tokens):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    text: str = TOKENIZER.decode(ids[1:])
    return text


def test_everything_together_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()) <= 20e6


@pytest.mark.parametrize(
    ("name", "width", "layers", "parameters"),
    [
        # 4096·256 + 512·256 tables, 8 layers of 12·256² + 13·256, and 2·256 of the last norm
        ("pycode-7m", 256, 8, 7_498_240),
        # 4096·128 + 512·128, 2 layers of 12·128² + 13·128, and 2·128
        ("pycode-1m", 128, 2, 986_624),
    ],
)
def test_a_model_has_the_size_it_says(name: str, width: int, layers: int, parameters: int) -> None:
    model = load(name)
    assert (model.config.n_embd, model.config.n_layer) == (width, layers)
    assert model.config.n_embd // model.config.n_head == 64
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert RECORD["models"][name]["parameters"] == parameters


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_finite_half_precision_under_the_usual_names(name: str) -> None:
    with safe_open(BUNDLED / name / "model.safetensors", framework="pt") as stored:
        names = set(stored.keys())
        for key in names:
            tensor = stored.get_tensor(key)
            assert tensor.dtype == torch.float16
            assert tensor.isfinite().all()
    assert "transformer.h.0.attn.c_attn.weight" in names
    assert "lm_head.weight" not in names


@pytest.mark.parametrize("name", NAMES)
def test_a_model_predicts_held_out_text_as_well_as_when_it_was_shipped(name: str) -> None:
    assert slice_nats_per_token(load(name)) < 1.02 * SLICE_NATS_PER_TOKEN[name]


def test_the_bound_on_the_loss_catches_one_shifted_matrix() -> None:
    model = GPT2LMHeadModel.from_pretrained(BUNDLED / "pycode-7m", dtype=torch.float32)
    weight = model.get_parameter("transformer.h.5.attn.c_proj.weight")
    weight.data = weight.data.roll(1, dims=0)
    assert slice_nats_per_token(model) > 1.02 * SLICE_NATS_PER_TOKEN["pycode-7m"]


def test_the_big_model_beats_the_small_one_and_both_beat_chance() -> None:
    big, small = (RECORD["models"][name]["held_out"]["fp16"]["nats_per_token"] for name in NAMES)
    assert big < small < math.log(4096)


@pytest.mark.parametrize("name", NAMES)
def test_rounding_to_half_precision_costs_next_to_nothing(name: str) -> None:
    held_out = RECORD["models"][name]["held_out"]
    assert held_out["fp16"]["nats_per_token"] == pytest.approx(
        held_out["trained"]["nats_per_token"], rel=1e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_model_writes_what_looks_like_python(name: str) -> None:
    header, _, body = continue_greedily(load(name), "def read_lines(path", 30).partition("\n")
    assert isinstance(ast.parse(header + "\n    pass\n").body[0], ast.FunctionDef)
    assert body.startswith('    """')


def test_the_big_model_writes_a_function_of_its_own() -> None:
    header, _, body = continue_greedily(load("pycode-7m"), "def", 30).partition("\n")
    assert header.endswith("):")
    assert body.startswith("    ")


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_unchanged(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_both_folders_hold_the_same_tokenizer() -> None:
    first, second = (BUNDLED / name / "tokenizer.json" for name in NAMES)
    assert first.read_bytes() == second.read_bytes()
    assert TOKENIZER.get_vocab_size() == 4096
    assert TOKENIZER.token_to_id("<|endoftext|>") == 0


@pytest.mark.parametrize("name", NAMES)
def test_transformers_tokenizes_alike(name: str) -> None:
    folder = BUNDLED / name
    text = "class Queue:\n    def get(self, timeout=None):\n        return 'é', 1.5e-3\n"
    from_file: Callable[..., Any] = PreTrainedTokenizerFast
    plain = from_file(tokenizer_file=str(folder / "tokenizer.json"))
    found = AutoTokenizer.from_pretrained(folder)
    expected = TOKENIZER.encode(text).ids
    assert plain(text)["input_ids"] == found(text)["input_ids"] == expected
    assert found.decode(expected) == text
    assert found.eos_token == "<|endoftext|>"


def test_held_out_modules_are_named_once_and_found_here() -> None:
    listing = json.loads((BUNDLED / "heldout.json").read_text("utf-8"))
    modules = listing["modules"]
    assert modules == sorted(set(modules))
    assert SLICE in modules
    assert listing["python"] == RECORD["python"]
    assert len(modules) == RECORD["corpus"]["held_out_documents"]
    folder = Path(sysconfig.get_paths()["stdlib"])
    assert sum((folder / name).stat().st_size for name in modules if (folder / name).exists()) > 1e5


def test_the_card_repeats_the_figures_of_the_record() -> None:
    card = (BUNDLED / "README.md").read_text("utf-8")
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:4]
        for line in card.splitlines()
        if line.startswith("| ")
    }
    for column, name in enumerate(NAMES):
        model = RECORD["models"][name]
        for weights, label in (("trained", "as trained"), ("fp16", "in fp16")):
            score = model["held_out"][weights]
            nats = rows[f"held-out loss {label}, nats/token"][column]
            bits = rows[f"held-out loss {label}, bits/byte"][column]
            assert float(nats) == pytest.approx(score["nats_per_token"], abs=5e-5)
            assert float(bits) == pytest.approx(score["bits_per_byte"], abs=5e-5)
        assert int(rows["parameters"][column].replace(",", "")) == model["parameters"]
        assert int(rows["steps"][column].replace(",", "")) == model["plan"]["steps"]
        assert int(rows["tokens seen"][column].replace(",", "")) == model["tokens_seen"]
    assert f"{RECORD['agreement']['greedy']:.1%}" in card
    for sample in RECORD["samples"]:
        assert (sample["prompt"] + sample["continuation"]).rstrip() in card
