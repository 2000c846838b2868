"""A stack saved with its weights, and loaded where the original is gone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.models.tiny import GPT2, GROUPED, QWEN2, Fields, write_model
from topout.errors import InputError, RecordError, UnsupportedError, WeightsError
from topout.models.known import bundled_folder
from topout.verbs.load import load
from topout.winner.saved import SAVED_FILE

pytestmark = pytest.mark.seconds(60)

STACKS = (
    "transformers_eager",
    "static_cache",
    "static_cache + bf16",
    "static_cache + quantize_weights_int8",
    "static_cache + native_linear_bf16",
    "static_cache + native_linear_int8",
    "static_cache + speculate_lookup + native_linear_int8_dynamic",
    "static_cache + native_linear_int4",
    "static_cache + bf16 + quantize_weights_int8",
)
KINDS: dict[str, Fields] = {
    "gpt2": GPT2 | {"eos_token_id": 7},  # a tied head
    "llama": GROUPED | {"tie_word_embeddings": False},
    "qwen2": QWEN2 | {"tie_word_embeddings": True},  # q, k and v have biases of their own
}
IDS = [3, 5, 8, 13, 21]


def types_of(folder: Path) -> dict[str, set[str]]:
    """The data types in each safetensors file, by the name it ends in."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            types = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        found[path.name.rpartition("-")[2]] = types
    return found


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("stack", STACKS)
def test_what_is_saved_gives_the_same_without_the_original(
    kind: str, stack: str, tmp_path: Path, fresh_cache: Path
) -> None:
    original = write_model(tmp_path / "original", KINDS[kind])
    with load(original, stack=stack) as model:
        expected, logits = model.generate(IDS, max_new_tokens=12), model.logits(IDS)
        folder = model.save(tmp_path / "saved")
    shutil.rmtree(original)
    shutil.rmtree(fresh_cache / "quantized", ignore_errors=True)
    with load(folder) as again:
        assert again.stack == stack and again.doubts == []
        assert torch.equal(again.logits(IDS), logits)
        assert again.generate(IDS, max_new_tokens=12).token_ids == expected.token_ids
        twice = again.save(tmp_path / "twice")
    with load(twice) as copied:
        assert torch.equal(copied.logits(IDS), logits)
    names = {path.suffix for path in folder.iterdir()}
    assert names <= {".safetensors", ".json"}


def test_the_bundled_model_as_int8_int4_and_bf16(tmp_path: Path) -> None:
    """Each in the types that it says, and so much smaller; text needs no original either."""
    sizes = {}
    for name in ("native_linear_int8", "native_linear_int4", "native_linear_bf16"):
        stack = f"static_cache + {name}"
        folder = tmp_path / name
        with load("bundled", stack=stack) as model:
            text = model.generate("import os\n", max_new_tokens=8).text
            model.save(folder)
        with load(folder) as again:
            assert again.generate("import os\n", max_new_tokens=8).text == text
        sizes[name] = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert types_of(tmp_path / "native_linear_int8") == {
        "model.safetensors": {"F16"},
        "int8.safetensors": {"I8", "F32"},
    }
    assert {"U8", "BF16"} <= types_of(tmp_path / "native_linear_int4")["g64.safetensors"]
    assert types_of(tmp_path / "native_linear_bf16") == {"model.safetensors": {"F16", "BF16"}}
    original = bundled_folder("bundled")
    assert original is not None
    whole = (original / "model.safetensors").stat().st_size
    # Of 7.5 M weights 6.3 M are in blocks; the tied head of 1 M is an embedding and an int8 matrix.
    assert sizes["native_linear_int4"] < sizes["native_linear_int8"] < 0.75 * whole
    assert sizes["native_linear_bf16"] < 1.02 * whole


def test_floats_are_saved_as_a_folder_of_hugging_face(tmp_path: Path) -> None:
    """Exactly the original's tensors, in its own type, which any tool reads."""
    with load("bundled", stack="static_cache") as model:
        folder = model.save(tmp_path / "saved")
    original = bundled_folder("bundled")
    assert original is not None
    with (
        safe_open(original / "model.safetensors", framework="pt") as before,
        safe_open(folder / "model.safetensors", framework="pt") as after,
    ):
        assert set(before.keys()) == set(after.keys())
        for name in before.keys():  # noqa: SIM118
            assert torch.equal(before.get_tensor(name), after.get_tensor(name))
    (folder / SAVED_FILE).unlink()
    with load(folder) as plain:
        assert plain.name == "saved" and plain.generate("x", max_new_tokens=2).token_ids


def test_the_draft_is_saved_beside_the_model(tmp_path: Path) -> None:
    stack = "static_cache + speculate_draft"
    with load("bundled", stack=stack) as model:
        expected = model.generate("import os\n", max_new_tokens=16)
        folder = model.save(tmp_path / "saved")
    with load(folder) as again:
        found = again.generate("import os\n", max_new_tokens=16)
    assert found.token_ids == expected.token_ids
    assert found.forward_passes == expected.forward_passes < 15


def test_floats_run_under_another_stack_and_leave_the_folder_as_it_is(tmp_path: Path) -> None:
    original = write_model(tmp_path / "original", GPT2)
    with load(original, stack="static_cache") as model:
        folder = model.save(tmp_path / "saved")
    before = sorted(path.name for path in folder.iterdir())
    with load(folder, stack="static_cache + native_linear_int8") as model:
        assert model.stack == "static_cache + native_linear_int8"
    assert sorted(path.name for path in folder.iterdir()) == before
    with pytest.raises(InputError, match="--exact is of a climb"):
        load(folder, exact=True)


def test_how_it_ends_is_saved(tmp_path: Path) -> None:
    original = write_model(tmp_path / "original", GPT2)
    (original / "generation_config.json").write_text('{"eos_token_id": [11, 12]}')
    with load(original) as model:
        folder = model.save(tmp_path / "saved")
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == [11, 12]


# --- refused ------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    original = write_model(tmp_path / "original", GPT2)
    with load(original, stack="static_cache + native_linear_int8") as model:
        return model.save(tmp_path / "saved")


def test_a_folder_with_something_in_it_is_left_alone(saved: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in saved.iterdir()}
    with load(tmp_path / "original") as model:
        with pytest.raises(InputError, match="has something in it"):
            model.save(saved)
        (tmp_path / "empty").mkdir()
        model.save(tmp_path / "empty")
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


def test_what_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from topout.errors import OutputError

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with load(write_model(tmp_path / "original", GPT2)) as model:
        monkeypatch.setattr("topout.winner.saved.save_file", full)
        with pytest.raises(OutputError, match="No space left"):
            model.save(tmp_path / "saved")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original"]


def test_random_weights_are_not_saved(tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="random weights"),
        load("distilgpt2", random_weights=True) as model,
        pytest.raises(UnsupportedError, match="there is nothing to save"),
    ):
        model.save(tmp_path / "saved")


def test_a_quantized_folder_has_no_other_stack(saved: Path) -> None:
    with pytest.raises(InputError, match="as static_cache \\+ native_linear_int8 has them, and no"):
        load(saved, stack="static_cache")


def without(*suffixes: str) -> Any:
    def damage(folder: Path) -> None:
        for suffix in suffixes:
            for path in folder.glob(f"*{suffix}"):
                path.unlink()

    return damage


def cut(suffix: str) -> Any:
    def damage(folder: Path) -> None:
        (path,) = folder.glob(f"*{suffix}")
        path.write_bytes(path.read_bytes()[:-20])

    return damage


def stated(**fields: Any) -> Any:
    def damage(folder: Path) -> None:
        record = json.loads((folder / SAVED_FILE).read_text())
        (folder / SAVED_FILE).write_text(json.dumps(record | fields))

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (without("int8.safetensors"), WeightsError, "missing or damaged, and the weights it was"),
        (cut("int8.safetensors"), WeightsError, "missing or damaged, and the weights it was"),
        (without("model.safetensors"), WeightsError, r"model\.safetensors"),
        (cut("model.safetensors"), WeightsError, "is not a whole safetensors file"),
        (without("config.json"), InputError, r"config\.json"),
        (stated(fingerprint="0" * 64), WeightsError, "missing or damaged"),
        (stated(fingerprint="../../0"), RecordError, "no fingerprint"),
        (stated(quantized=None), WeightsError, "misses the tensor transformer.h.0.attn.c_attn"),
        (stated(quantized="int4-g64"), RecordError, "says int4-g64, and .* multiplies no such"),
        (stated(stack="static_cache"), RecordError, "says int8, and static_cache multiplies no"),
        (stated(schema_version=2), RecordError, r"topout\.json"),
        (stated(kind="climb"), RecordError, r"topout\.json"),
        (stated(more=1), RecordError, "more"),
        (stated(stack="static_cache + my_module:Mine"), InputError, "does not make it run"),
        (stated(stack="static_cache + gone"), InputError, "holds gone, which this topout does not"),
        (stated(has_draft=True), InputError, "no such folder or file.*draft"),
    ],
)
def test_a_damaged_folder_is_refused(
    damage: Any, error: type[Exception], message: str, saved: Path
) -> None:
    damage(saved)
    with pytest.raises(error, match=message):
        load(saved)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"n_positions": 32}))
    with pytest.raises(WeightsError, match="has shape"):
        load(saved)
