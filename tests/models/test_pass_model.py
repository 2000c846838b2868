"""Models of one pass: their sizes and outputs are those of transformers' own class."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from topout.errors import InputError, UnsupportedError, WeightsError
from topout.models.pass_config import PassConfig, parameters_of
from topout.models.pass_model import load_pass, resolve_pass
from topout.models.pass_reading import read_pass_config, runs_in_one_pass

from .tiny_passes import BERT, PASSES, RESNET, VIT, pass_input, write_pass


def output_of(model: Any, name: str) -> torch.Tensor:
    with torch.inference_mode():
        found = model(**{model.main_input_name: pass_input(name)})
    if name == "bert_answers":
        return torch.stack([found.start_logits, found.end_logits], dim=-1)
    if name == "bert_two_heads":
        return found.prediction_logits
    hidden = name in ("bert", "electra", "deberta")
    return found.last_hidden_state if hidden else found.logits


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_gives_what_transformers_gives(name: str, tmp_path: Path) -> None:
    theirs, (_, class_name, shape) = write_pass(tmp_path, name), PASSES[name]
    source = resolve_pass(str(tmp_path))
    config = source.config
    assert (config.class_name, config.name) == (class_name, tmp_path.name)
    assert config.parameters == sum(each.numel() for each in theirs.parameters())
    assert parameters_of(config) == config.parameters
    ours = load_pass(source, dtype=torch.float32)
    assert not any(each.requires_grad for each in ours.parameters())
    with torch.inference_mode():
        found = ours(pass_input(name))
    expected = output_of(theirs, name)
    assert found.shape == expected.shape == shape
    assert expected.std() > 0.1  # not flat, so that agreement means something
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if config.outputs:
        assert config.outputs == shape[-1]


def test_sizes_are_read_from_the_module(tmp_path: Path) -> None:
    write_pass(tmp_path / "bert", "bert")
    bert = resolve_pass(str(tmp_path / "bert")).config
    assert (bert.takes, bert.layers, bert.width, bert.heads) == ("tokens", 2, 48, 4)
    assert (bert.vocab_size, bert.context_len, bert.image_size, bert.outputs) == (97, 32, 0, 0)
    write_pass(tmp_path / "roberta", "roberta_words")
    roberta = resolve_pass(str(tmp_path / "roberta")).config
    assert roberta.context_len == 34 - 2  # the first position is that behind the padding's
    write_pass(tmp_path / "resnet", "resnet")
    resnet = resolve_pass(str(tmp_path / "resnet")).config
    assert (resnet.takes, resnet.layers, resnet.width, resnet.heads) == ("images", 3, 24, 0)
    assert (resnet.image_size, resnet.channels, resnet.outputs) == (224, 3, 7)
    assert resolve_pass(str(tmp_path / "resnet"), image_size=64).config.image_size == 64


def test_formulas_count_the_class_that_is_run_or_none_do(tmp_path: Path) -> None:
    for name, counted in (("bert", True), ("vit", True), ("modernbert", False)):
        write_pass(tmp_path / name, name)
        shape = resolve_pass(str(tmp_path / name)).config.shape
        assert (shape is not None) == counted, name


def test_another_size_of_images_stretches_the_positions(tmp_path: Path) -> None:
    theirs = write_pass(tmp_path, "vit")
    ours = load_pass(resolve_pass(str(tmp_path), image_size=48), dtype=torch.float32)
    images = pass_input("vit", size=48)
    with torch.inference_mode():
        expected = theirs(images, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)


def test_random_weights_follow_the_seed() -> None:
    def outputs(seed: int) -> torch.Tensor:
        source = resolve_pass("resnet-18", random_weights=True, seed=seed)
        with torch.inference_mode():
            return load_pass(source, dtype=torch.float32)(pass_input("resnet", 1, 64))

    first = outputs(0)
    assert first.shape == (1, 1000)
    assert torch.equal(first, outputs(0))
    assert not torch.equal(first, outputs(1))


def test_a_fingerprint_follows_config_and_weights_and_not_the_folder(tmp_path: Path) -> None:
    def fingerprint(folder: str) -> str:
        return resolve_pass(str(tmp_path / folder)).fingerprint

    for folder in ("one", "same"):
        write_pass(tmp_path / folder, "bert")
    write_pass(tmp_path / "weights", "bert", seed=1)
    write_pass(tmp_path / "config", "bert")
    path = tmp_path / "config" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 1e-3}))
    assert fingerprint("one") == fingerprint("same")
    assert len({fingerprint(each) for each in ("one", "weights", "config")}) == 3


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    write_pass(tmp_path, "bert")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    lacking = {name: each for name, each in tensors.items() if "layer.1.output.dense" not in name}
    save_file(lacking, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"layer\.1\.output\.dense\.bias and 1 more"):
        load_pass(resolve_pass(str(tmp_path)), dtype=torch.float32)
    other = tensors | {"pooler.dense.bias": torch.zeros(5)}
    save_file(other, file, {"format": "pt"})
    with pytest.raises(WeightsError, match="do not fit"):
        load_pass(resolve_pass(str(tmp_path)), dtype=torch.float32)


def test_what_runs_in_one_pass_is_told_by_its_architecture() -> None:
    for fields in (BERT, VIT, RESNET, {"model_type": "deberta-v2"}):
        assert runs_in_one_pass(fields)
    for model_type in ("llama", "gpt2", "t5", "mamba", "no-such-model", None):
        assert not runs_in_one_pass({"model_type": model_type})
    assert not runs_in_one_pass({"model_type": "bart", "is_encoder_decoder": True})


def test_what_is_not_run_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="stored quantized"):
        read_pass_config(BERT | {"quantization_config": {"quant_method": "awq"}}, "quantized")
    with pytest.raises(UnsupportedError, match="BertForMultipleChoice is not run"):
        read_pass_config(BERT | {"architectures": ["BertForMultipleChoice"]}, "choices")
    with pytest.raises(UnsupportedError, match="32×48 are not run"):
        read_pass_config(VIT | {"image_size": [32, 48]}, "wide")
    with pytest.raises(InputError, match="takes no images"):
        resolve_pass("bert-base-uncased", random_weights=True, image_size=224)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    write_pass(tmp_path, "bert")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickle"):
        resolve_pass(str(tmp_path))


def test_code_beside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    write_pass(tmp_path, "bert")
    path = tmp_path / "config.json"
    planted = {"auto_map": {"AutoModel": "planted.Planted"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | planted))
    (tmp_path / "planted.py").write_text("raise SystemExit('planted code ran')\n")
    source = resolve_pass(str(tmp_path))
    assert isinstance(source.config, PassConfig)
    assert type(load_pass(source, dtype=torch.float32).module).__module__.startswith("transformers")
