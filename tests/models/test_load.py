import dataclasses
import json
import os
import re
import subprocess
import sys
from copy import deepcopy  # transformers writes defaults into nested fields
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from topout.errors import (
    InputError,
    TopoutError,
    UnknownNameError,
    UnsupportedError,
    WeightsError,
)
from topout.models.architecture import total_parameters
from topout.models.checkpoint import expected_tensors
from topout.models.config import architecture_of
from topout.models.load import hugging_face_tensors, load_decoder, load_transformers
from topout.models.source import ModelSource, resolve_model

from .tiny import (
    GPT2,
    GROUPED,
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    Fields,
    make_source,
    make_tensors,
    make_tokens,
    write_model,
)

FAMILIES = [GPT2, LLAMA, QWEN2, QWEN3, MISTRAL]
FAMILY_IDS = [fields["model_type"] for fields in FAMILIES]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reaches for the network, nor finds what the machine has cached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def logits_of(source: ModelSource) -> Tensor:
    tokens = make_tokens(source.config.vocab_size, 1, 8)
    with torch.inference_mode():
        logits: Tensor = load_decoder(source)(tokens, torch.arange(8))
    return logits


def rewrite(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors")


# --- names and shapes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [*FAMILIES, GPT2 | {"tie_word_embeddings": False}, LLAMA | {"tie_word_embeddings": True}],
)
def test_expected_tensors_are_those_of_transformers(fields: Fields, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**deepcopy(fields)))
    theirs = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert expected_tensors(make_source(tmp_path, fields).config) == theirs


def test_expected_tensors_hold_every_parameter() -> None:
    config = resolve_model("llama-3.2-1b", random_weights=True).config
    elements = sum(torch.Size(shape).numel() for shape in expected_tensors(config).values())
    assert elements == total_parameters(architecture_of(config))


@pytest.mark.parametrize("fields", FAMILIES, ids=FAMILY_IDS)
def test_decoder_holds_every_parameter(fields: Fields, tmp_path: Path) -> None:
    source = make_source(tmp_path, fields)
    decoder = load_decoder(source)
    parameters = dict(decoder.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == total_parameters(
        architecture_of(source.config)
    )
    assert all(p.device.type == "cpu" and not p.requires_grad for p in parameters.values())
    assert not decoder.training
    is_shared = decoder.head.weight is decoder.token_embedding.weight
    assert is_shared == source.config.tied_head


# --- where a model is found -------------------------------------------------------------------


def test_a_folder(tmp_path: Path) -> None:
    source = make_source(tmp_path / "mine", GPT2)
    assert (source.name, source.origin, source.weights_dtype) == ("mine", "trained", "fp32")
    assert source.folder == tmp_path / "mine"
    assert source.tokenizer_path is None
    tensors = hugging_face_tensors(source, torch.float32)
    for name, tensor in make_tensors(GPT2).items():
        assert torch.equal(tensors[name], tensor)


def test_a_safetensors_file_with_its_config_beside_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path, GPT2)
    (folder / "model.safetensors").rename(folder / "step-100.safetensors")
    source = resolve_model(str(folder / "step-100.safetensors"))
    assert source.name == "step-100"
    assert torch.isfinite(logits_of(source)).all()
    assert resolve_model(str(folder)).fingerprint == source.fingerprint


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "GPT2"])
def test_a_known_name_with_random_weights(name: str) -> None:
    source = resolve_model(name, random_weights=True)
    assert (source.name, source.origin, source.folder) == ("gpt2", "random", None)
    assert total_parameters(architecture_of(source.config)) == 124_439_808


def test_a_folder_with_random_weights_needs_a_config_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GROUPED))
    source = resolve_model(str(tmp_path), random_weights=True)
    assert source.origin == "random"
    assert torch.isfinite(logits_of(source)).all()


@pytest.mark.parametrize("name", ["pycode-7m", "bundled"])
def test_a_bundled_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topout.models.known._BUNDLED_FOLDER", tmp_path)
    write_model(tmp_path / "pycode-7m", GPT2)
    source = resolve_model(name)
    assert (source.name, source.origin) == ("pycode-7m", "trained")
    assert resolve_model(name, random_weights=True).origin == "random"
    assert resolve_model(name, random_weights=True).config == source.config


def test_a_folder_goes_before_a_known_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "gpt2", LLAMA)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("gpt2").config.architecture == "llama"


def test_the_hub_cache_is_used_without_a_network(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--distilbert--distilgpt2"
    write_model(repository / "snapshots" / ("a" * 40), GPT2)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    for name in ("distilgpt2", "distilbert/distilgpt2"):
        source = resolve_model(name)
        assert (source.name, source.config.layers) == ("distilgpt2", 3)


def test_the_hub_out_of_reach_is_one_line() -> None:
    with pytest.raises(InputError, match=r"'gpt2' is not on.*folder.*--random-weights"):
        resolve_model("gpt2")
    with pytest.raises(InputError, match=r"'some/model' is not on.*HF_HUB_OFFLINE") as caught:
        resolve_model("some/model")
    assert "--random-weights" not in str(caught.value)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    for random_weights in (False, True):
        with pytest.raises(UnknownNameError, match="Did you mean distilgpt2"):
            resolve_model("distilgtp2", random_weights=random_weights)
    with pytest.raises(UnknownNameError):
        resolve_model("a\0b")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name is empty"),
        ("  ", "name is empty"),
        ("./nowhere", "no such folder or file"),
        ("/no/where", "no such folder or file"),
        ("a/b/c", "no such folder or file"),
        ("nowhere/", "no such folder or file"),
        ("nowhere.safetensors", "no such file"),
        ("x" * 5000, "neither a name nor a path"),
    ],
)
def test_a_name_that_leads_nowhere(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_model(name)


def test_an_ill_formed_hub_id_is_unknown() -> None:
    with pytest.raises(TopoutError) as caught:
        resolve_model("some one/--model--")
    assert "\n" not in str(caught.value)


# --- what is wrong with a checkpoint ----------------------------------------------------------


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        resolve_model(str(tmp_path))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (write_model(tmp_path, GPT2) / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no \*\.safetensors.*--random-weights"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "last.ckpt", "w.pth", "w.pkl"])
def test_a_pickle_is_refused_unread(name: str, tmp_path: Path) -> None:
    (write_model(tmp_path, GPT2) / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    for given_name in (tmp_path, tmp_path / name):
        with pytest.raises(WeightsError, match=rf"{re.escape(name)} is a pickle.*save_pretrained"):
            resolve_model(str(given_name))


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnsupportedError, match="is not a safetensors file"):
        resolve_model(str(tmp_path / "model.gguf"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_truncated_file_is_a_weights_error(data: st.DataObject, tmp_path: Path) -> None:
    folder = write_model(tmp_path, GPT2 | {"n_layer": 1})
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    places = st.integers(0, header_end) | st.integers(0, len(whole) - 1)
    file.write_bytes(whole[: data.draw(places)])
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a whole") as caught:
        resolve_model(str(folder))
    assert "\n" not in str(caught.value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_header_never_gives_a_traceback(data: st.DataObject, tmp_path: Path) -> None:
    folder = write_model(tmp_path, GPT2 | {"n_layer": 1})
    file = folder / "model.safetensors"
    damaged = bytearray(file.read_bytes())
    header_end = 8 + int.from_bytes(damaged[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, header_end - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged)
    try:
        load_decoder(resolve_model(str(folder)))
    except WeightsError as error:
        assert "\n" not in str(error)


def test_trailing_bytes_are_noticed(tmp_path: Path) -> None:
    file = write_model(tmp_path, GPT2) / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="is not a whole safetensors file: incomplete"):
        resolve_model(str(tmp_path))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = make_tensors(GPT2)
    del tensors["transformer.h.1.mlp.c_fc.bias"]
    rewrite(write_model(tmp_path, GPT2), tensors)
    with pytest.raises(WeightsError, match=r"misses the tensor transformer\.h\.1\.mlp\.c_fc\.bias"):
        resolve_model(str(tmp_path))


def test_an_unexpected_tensor_is_named(tmp_path: Path) -> None:
    tensors = make_tensors(LLAMA) | {"score.weight": torch.zeros(2, 64), "a.b": torch.zeros(1)}
    rewrite(write_model(tmp_path, LLAMA), tensors)
    with pytest.raises(WeightsError, match=r"has besides the tensor a\.b and 1 more"):
        resolve_model(str(tmp_path))


def test_a_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = make_tensors(LLAMA)
    tensors["model.layers.1.self_attn.k_proj.weight"] = torch.zeros(32, 64)
    rewrite(write_model(tmp_path, LLAMA), tensors)
    expected = r"layers\.1\.self_attn\.k_proj\.weight has shape \[32, 64\].*asks for \[64, 64\]"
    with pytest.raises(WeightsError, match=expected):
        resolve_model(str(tmp_path))


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    tensors = make_tensors(LLAMA)
    tensors["model.norm.weight"] = torch.ones(64, dtype=torch.int8)
    rewrite(write_model(tmp_path, LLAMA), tensors)
    with pytest.raises(WeightsError, match=r"model\.norm\.weight is stored as I8"):
        resolve_model(str(tmp_path))


# --- layouts of checkpoints -------------------------------------------------------------------


def write_shards(folder: Path, fields: Fields) -> Path:
    """The weights in two shards and an index, as large checkpoints come."""
    write_model(folder, fields)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for shard, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{shard}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_equal_the_single_file(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole", LLAMA)
    write_shards(tmp_path / "shards", LLAMA)
    assert torch.equal(logits_of(whole), logits_of(resolve_model(str(tmp_path / "shards"))))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, LLAMA)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors is missing"):
        resolve_model(str(tmp_path))


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, LLAMA)
    shard = tmp_path / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model-00001-of-00002\.safetensors is not a whole"):
        resolve_model(str(tmp_path))


def test_shards_without_an_index(tmp_path: Path) -> None:
    write_shards(tmp_path, LLAMA).unlink()
    with pytest.raises(WeightsError, match=r"2 safetensors files and no .*index\.json"):
        resolve_model(str(tmp_path))


def test_a_tensor_in_two_shards_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, LLAMA)
    second = tmp_path / "model-00002-of-00002.safetensors"
    first = load_file(tmp_path / "model-00001-of-00002.safetensors")
    name = sorted(first)[0]
    save_file(load_file(second) | {name: first[name]}, second)
    with pytest.raises(WeightsError, match=f"both hold the tensor {name}"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a safetensors index"),
        ("[]", "is not a safetensors index"),
        ('{"weight_map": 3}', "is not a safetensors index"),
        ('{"weight_map": {"a": ["b"]}}', "is not a safetensors index"),
        ('{"weight_map": {}}', "does not name files of its own folder"),
        ('{"weight_map": {"a": 3}}', "does not name files of its own folder"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "does not name files of its own folder"),
        ('{"weight_map": {"a": "b.bin"}}', r"b\.bin is a pickle"),
    ],
)
def test_a_bad_index(text: str, message: str, tmp_path: Path) -> None:
    write_shards(tmp_path, LLAMA).write_text(text)
    with pytest.raises(WeightsError, match=message):
        resolve_model(str(tmp_path))


def test_names_without_prefix_and_old_buffers(tmp_path: Path) -> None:
    # As openai-community/gpt2 is stored: no `transformer.`, and the causal masks as buffers.
    whole = make_source(tmp_path / "whole", GPT2)
    bare = {name.removeprefix("transformer."): t for name, t in make_tensors(GPT2).items()}
    for layer in range(3):
        bare[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64)
        bare[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    rewrite(write_model(tmp_path / "bare", GPT2), bare)
    source = resolve_model(str(tmp_path / "bare"))
    assert torch.equal(logits_of(whole), logits_of(source))
    with torch.inference_mode():
        theirs = load_transformers(source)(make_tokens(211, 1, 8)).logits
    assert float((logits_of(source) - theirs).abs().max()) <= 1e-4


def test_a_stored_copy_of_the_tied_head_is_ignored(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole", GPT2)
    copied = make_tensors(GPT2)
    copied["lm_head.weight"] = copied["transformer.wte.weight"].clone()
    rewrite(write_model(tmp_path / "copied", GPT2), copied)
    assert torch.equal(logits_of(whole), logits_of(resolve_model(str(tmp_path / "copied"))))


def test_what_transformers_saves_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**deepcopy(QWEN2)), dtype=torch.bfloat16
    )
    model.save_pretrained(tmp_path)
    source = resolve_model(str(tmp_path))
    assert (source.weights_dtype, source.published_dtype) == ("bf16", "bf16")
    ours = load_decoder(source, dtype=torch.bfloat16)
    assert torch.equal(ours.token_embedding.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_converted_from_their_stored_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in make_tensors(GPT2).items()}
    rewrite(write_model(tmp_path, GPT2), tensors)
    source = resolve_model(str(tmp_path))
    assert source.weights_dtype == {2: "16", 8: "64"}[dtype.itemsize].join(
        ["bf" if dtype == torch.bfloat16 else "fp", ""]
    )
    for name, tensor in hugging_face_tensors(source, torch.float32).items():
        assert torch.equal(tensor, tensors[name].float())


# --- fingerprints -----------------------------------------------------------------------------


def test_a_fingerprint_follows_config_weights_and_seed(tmp_path: Path) -> None:
    first = make_source(tmp_path / "a", GPT2)
    assert make_source(tmp_path / "b", GPT2).fingerprint == first.fingerprint
    others = [
        make_source(tmp_path / "c", GPT2, seed=1),
        make_source(tmp_path / "d", GPT2 | {"layer_norm_epsilon": 1e-6}),
        resolve_model(str(tmp_path / "a"), random_weights=True),
        resolve_model(str(tmp_path / "a"), random_weights=True, seed=1),
    ]
    assert len({source.fingerprint for source in [first, *others]}) == 5


def test_one_changed_byte_changes_the_fingerprint(tmp_path: Path) -> None:
    first = make_source(tmp_path, GPT2)
    file = tmp_path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert resolve_model(str(tmp_path)).fingerprint != first.fingerprint


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topout.models.checkpoint._HASHED_WHOLE_BYTES", 0)
    monkeypatch.setattr("topout.models.checkpoint._SAMPLE_BYTES", 16)
    first = make_source(tmp_path / "a", GPT2).fingerprint
    assert make_source(tmp_path / "b", GPT2).fingerprint == first
    assert make_source(tmp_path / "c", GPT2, seed=1).fingerprint != first


# --- random weights ---------------------------------------------------------------------------

PRINT_DIGEST = """
import hashlib, sys, torch
from topout.models.load import hugging_face_tensors
from topout.models.source import resolve_model
source = resolve_model(sys.argv[1], random_weights=True, seed=int(sys.argv[2]))
digest = hashlib.sha256()
for name, tensor in sorted(hugging_face_tensors(source, torch.float32).items()):
    digest.update(name.encode() + tensor.numpy().tobytes())
print(digest.hexdigest())
"""


def test_random_weights_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GROUPED))

    def digest(seed: int, threads: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST, str(tmp_path), str(seed)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        ).stdout

    assert digest(0, "1") == digest(0, "2") != digest(1, "1")


@pytest.mark.parametrize("fields", FAMILIES, ids=FAMILY_IDS)
def test_random_weights_have_the_stated_spread(fields: Fields, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    source = resolve_model(str(tmp_path), random_weights=True)
    for name, tensor in hugging_face_tensors(source, torch.float32).items():
        if name.endswith(".bias"):
            assert not tensor.any()
        elif tensor.dim() == 1:
            assert (tensor == 1).all()
        else:
            assert abs(float(tensor.std()) - 0.02) < 0.001
            assert abs(float(tensor.mean())) < 0.001


def test_both_models_get_the_same_random_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    source = resolve_model(str(tmp_path), random_weights=True, seed=7)
    with torch.inference_mode():
        theirs = load_transformers(source)(make_tokens(211, 1, 8)).logits
    assert float((logits_of(source) - theirs).abs().max()) <= 1e-5
    other = dataclasses.replace(source, seed=8)
    assert float((logits_of(other) - theirs).abs().max()) > 1e-3


def test_124_million_random_weights() -> None:
    source = resolve_model("gpt2", random_weights=True)
    tensors = hugging_face_tensors(source, torch.float32)
    assert sum(tensor.numel() for tensor in tensors.values()) == 124_439_808


# --- imports ----------------------------------------------------------------------------------


def test_resolving_imports_no_torch(tmp_path: Path) -> None:
    """Nor numpy, until a header is read: the safetensors library imports it then."""
    write_model(tmp_path, GPT2)
    script = (
        "import sys; from topout.models.source import resolve_model; "
        "resolve_model('gpt2', random_weights=True); "
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]); "
        f"resolve_model({str(tmp_path)!r}); "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["[]", "[]"], done.stderr


def test_a_file_that_changed_after_the_check(tmp_path: Path) -> None:
    source = make_source(tmp_path, GPT2)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot read"):
        load_decoder(source)
