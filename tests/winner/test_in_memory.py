"""A stack over a model of transformers that is in memory."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

from tests.models.tiny import GPT2, GROUPED, MISTRAL, QWEN2, QWEN3, Fields, write_model
from topout.errors import InputError, UnsupportedError, WeightsError
from topout.models.known import bundled_folder
from topout.verbs.accelerate import accelerate
from topout.verbs.load import load

pytestmark = pytest.mark.seconds(40)

KINDS: dict[str, Fields] = {
    "gpt2": GPT2,
    "llama": GROUPED | {"tie_word_embeddings": False},
    "tied": GROUPED | {"tie_word_embeddings": True},
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
}
IDS = [3, 5, 8, 13, 21]


def model_of(folder: Path, fields: Fields = GPT2, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(write_model(folder, fields), dtype=dtype).eval()


def logits_of(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([IDS])).logits[0]
    return found


def storages(*modules: Any) -> int:
    """Bytes that the parameters of modules take together, each piece of memory once."""
    found = {}
    for module in modules:
        for each in module.parameters():
            found[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    return sum(found.values())


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_generates_as_the_model_and_no_weight_is_there_twice(kind: str, tmp_path: Path) -> None:
    model = model_of(tmp_path / "model", KINDS[kind])
    before, alone = logits_of(model), storages(model)
    row = torch.tensor([IDS])
    expected = model.generate(
        row, attention_mask=torch.ones_like(row), max_new_tokens=9, do_sample=False
    )[0, len(IDS) :]
    with accelerate(model) as fast:
        assert fast.name == "model" and fast.stack == "static_cache"
        assert fast.generate(IDS, max_new_tokens=9).token_ids == expected.tolist()
        torch.testing.assert_close(fast.logits(IDS), before, atol=1e-4, rtol=1e-4)
        assert storages(model, fast.module) == alone
        held = fast.choice.build.source.memory
        assert held is not None
        places = {each.untyped_storage().data_ptr() for each in fast.module.parameters()}
        assert {each.untyped_storage().data_ptr() for each in held.values()} <= places
        torch.testing.assert_close(logits_of(model), before, atol=1e-5, rtol=1e-5)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (
        model.config.tie_word_embeddings
    )
    model.save_pretrained(tmp_path / "again")  # views of one tensor are no obstacle
    with load(tmp_path / "again") as loaded:
        torch.testing.assert_close(loaded.logits(IDS), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["bf16", "quantize_weights_int8", "native_linear_int4"])
def test_a_quantized_stack_is_that_of_the_folder_and_leaves_the_model_as_it_was(
    name: str, tmp_path: Path
) -> None:
    model = model_of(tmp_path / "model", GROUPED)
    before = copy.deepcopy(model.state_dict())
    stack = f"static_cache + {name}"
    with load(tmp_path / "model", stack=stack) as reference, accelerate(model, stack) as fast:
        assert torch.equal(fast.logits(IDS), reference.logits(IDS))
        fast.save(tmp_path / "saved")
        with load(tmp_path / "saved") as again:
            assert torch.equal(again.logits(IDS), fast.logits(IDS))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_two_models_of_one_shape_are_quantized_apart(tmp_path: Path) -> None:
    """What was quantized of the one is not taken for the other."""
    stack = "static_cache + native_linear_int8"
    found = []
    for seed in (0, 1):
        folder = write_model(tmp_path / str(seed), GPT2, seed)
        with accelerate(AutoModelForCausalLM.from_pretrained(folder).eval(), stack) as fast:
            found.append(fast.logits(IDS))
    assert not torch.allclose(*found, atol=0.1)


def test_text_with_the_tokenizer_of_transformers(tmp_path: Path) -> None:
    folder = bundled_folder("bundled")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with load("bundled") as reference:
        expected = reference.generate("import os\n", max_new_tokens=12)
    with accelerate(model, tokenizer=tokenizer) as fast:
        assert fast.generate("import os\n", max_new_tokens=12).text == expected.text
        fast.save(tmp_path / "saved")
    with load(tmp_path / "saved") as again:
        assert again.generate("import os\n", max_new_tokens=12).text == expected.text
    with accelerate(model) as silent, pytest.raises(UnsupportedError, match="has no tokenizer"):
        silent.generate("x")


def test_it_ends_where_the_models_generation_config_says(tmp_path: Path) -> None:
    model = model_of(tmp_path / "model")
    with accelerate(model) as fast:
        tokens = fast.generate(IDS, max_new_tokens=6).token_ids
    model.generation_config.eos_token_id = tokens[0]
    with accelerate(model) as fast:
        assert fast.generate(IDS, max_new_tokens=6).token_ids == tokens[:1]


# --- refused ------------------------------------------------------------------------------------


def test_what_is_no_decoder_is_refused(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    for other in (BertModel(config), torch.nn.Linear(2, 2), "gpt2"):
        with pytest.raises(UnsupportedError, match="is no decoder of transformers that topout run"):
            accelerate(other)
    headless = AutoModel.from_pretrained(write_model(tmp_path / "model", GPT2)).eval()
    with pytest.raises(UnsupportedError, match="GPT2Model has no head"):
        accelerate(headless)


def test_a_model_in_training_or_in_a_type_that_is_not_run_is_refused(tmp_path: Path) -> None:
    model = model_of(tmp_path / "model")
    with pytest.raises(InputError, match="in training mode"):
        accelerate(model.train())
    with pytest.raises(UnsupportedError, match=r"holds weights in torch\.float16"):
        accelerate(model.eval().half())
    with accelerate(model.bfloat16()) as fast:
        assert fast.generate(IDS, max_new_tokens=2).token_ids
    with pytest.raises(UnsupportedError, match="The baseline is in bf16 already"):
        accelerate(model, "static_cache + bf16")
    with pytest.raises(UnsupportedError, match="lies on meta"):
        accelerate(model.float().to("meta"))


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    model = model_of(tmp_path / "model")
    model.transformer.h[0].attn.adapter = torch.nn.Linear(2, 2)
    with pytest.raises(WeightsError, match=r"has besides the tensor .*adapter"):
        accelerate(model)


def test_the_baseline_is_the_model_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="transformers_eager is the model itself"):
        accelerate(model_of(tmp_path / "model"), "transformers_eager")
    with pytest.raises(UnsupportedError, match="no fast tokenizer"):
        accelerate(model_of(tmp_path / "model"), tokenizer=object())
