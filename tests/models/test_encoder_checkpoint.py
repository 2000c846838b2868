"""Which tensors of a stored encoder are taken, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from topout.errors import WeightsError
from topout.models.encoder_checkpoint import (
    PARTS,
    holds_part,
    part_recipes,
    part_shapes,
    stored_labels,
)
from topout.models.load import load_encoder
from topout.models.source import resolve_encoder

from .tiny_encoders import BERT, DISTILBERT, FAMILIES, Fields, make_reference, write_reference

Tensors = dict[str, Tensor]


def rewritten(folder: Path, fields: Fields, task: str, change: Callable[[Tensors], object]) -> str:
    """A folder whose tensors were changed after transformers wrote it."""
    write_reference(folder, fields, task)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return str(folder)


def first_weight(folder: str) -> Tensor:
    return load_encoder(resolve_encoder(folder)).blocks[0].attention.qkv.weight


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_parts_are_those_of_transformers(name: str, tied: bool, tmp_path: Path) -> None:
    fields = FAMILIES[name] | {"tie_word_embeddings": tied}
    write_reference(tmp_path, fields)
    config = resolve_encoder(str(tmp_path)).config

    def parts(*names: str) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for part in PARTS:
            if part in names:
                found |= part_shapes(config, part, 3)
        return found

    masked = make_reference(fields, "ForMaskedLM")
    theirs = {key: tuple(value.shape) for key, value in masked.state_dict().items()}
    ours = parts("encoder", "masked_head")
    assert ours.items() <= theirs.items()
    # A tied head is there a second time; untied, nothing reads the second copy of its biases.
    heads = ("cls.predictions.", "lm_head.", "vocab_projector.")
    second = (
        ("decoder.weight", "decoder.bias", "projector.weight") if tied else ("s.bias", "d.bias")
    )
    spare = set(theirs) - set(ours)
    assert all(each.startswith(heads) and each.endswith(second) for each in spare), spare
    classifier = make_reference(fields | {"num_labels": 3}, "ForSequenceClassification")
    theirs = {key: tuple(value.shape) for key, value in classifier.named_parameters()}
    pooler = ["pooler"] if name == "bert" else []
    assert parts("encoder", "classifier", *pooler) == theirs


@pytest.mark.parametrize("name", FAMILIES)
def test_every_stored_tensor_is_used_once(name: str, tmp_path: Path) -> None:
    write_reference(tmp_path, FAMILIES[name])
    config = resolve_encoder(str(tmp_path)).config
    for part in PARTS:
        sources = [s for recipe in part_recipes(config, part).values() for s in recipe.sources]
        assert sorted(sources) == sorted(part_shapes(config, part, 2))


@pytest.mark.parametrize(
    ("task", "parts", "labels"),
    [
        ("Model", {"pooler"}, None),
        ("ForMaskedLM", {"masked_head"}, None),
        ("ForPreTraining", {"pooler", "masked_head"}, None),
        ("ForSequenceClassification", {"pooler", "classifier"}, 2),
        ("ForTokenClassification", set(), None),
        ("ForQuestionAnswering", set(), None),
    ],
)
def test_the_heads_that_are_there(
    task: str, parts: set[str], labels: int | None, tmp_path: Path
) -> None:
    write_reference(tmp_path, BERT, task)
    source = resolve_encoder(str(tmp_path))
    assert {p for p in PARTS if holds_part(source.tensors, source.config, p)} == parts | {"encoder"}
    assert stored_labels(source.tensors, source.config) == labels


def test_old_spellings(tmp_path: Path) -> None:
    def age(tensors: Tensors) -> None:
        for name in [name for name in tensors if "LayerNorm" in name]:
            old = name.replace("weight", "gamma").replace("bias", "beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(32)[None]

    old = rewritten(tmp_path / "old", BERT, "ForMaskedLM", age)
    new = rewritten(tmp_path / "new", BERT, "ForMaskedLM", lambda tensors: None)
    assert torch.equal(first_weight(old), first_weight(new))
    ours, theirs = (load_encoder(resolve_encoder(folder)) for folder in (old, new))
    assert torch.equal(ours.embedding_norm.bias, theirs.embedding_norm.bias)


def test_second_names_of_a_tied_head(tmp_path: Path) -> None:
    bias = "cls.predictions.bias"

    def copy(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.bias"] = tensors[bias].clone()
        embedding = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.weight"] = embedding.clone()

    def rename(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.bias"] = tensors.pop(bias)

    for number, change in enumerate((copy, rename)):
        folder = rewritten(tmp_path / str(number), BERT, "ForMaskedLM", change)
        assert bias in resolve_encoder(folder).tensors


def test_half_precision(tmp_path: Path) -> None:
    def halve(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.half()

    folder = rewritten(tmp_path, DISTILBERT, "Model", halve)
    assert resolve_encoder(folder).weights_dtype == "fp16"
    assert first_weight(folder).dtype == torch.float32


MISSING = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(MISSING), f"misses the tensor bert.{MISSING}"),
        (lambda t: t.pop("pooler.dense.bias"), r"misses the tensor bert\.pooler\.dense\.bias"),
        (
            lambda t: t.update({"encoder.layer.2.output.dense.bias": torch.zeros(48)}),
            r"has besides the tensor bert\.encoder\.layer\.2\.output\.dense\.bias",
        ),
        (
            lambda t: t.update({MISSING: torch.zeros(48, 101)}),
            r"has shape \[48, 101\], and config.json asks for \[48, 100\]",
        ),
        (
            lambda t: t.update({MISSING: torch.zeros(48, 100, dtype=torch.int32)}),
            "is stored as I32",
        ),
        (
            lambda t: t.update({f"bert.{MISSING}": t[MISSING].clone()}),
            "both hold the tensor bert",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    change: Callable[[Tensors], object], message: str, tmp_path: Path
) -> None:
    folder = rewritten(tmp_path, BERT, "Model", change)
    with pytest.raises(WeightsError, match=message):
        resolve_encoder(folder)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="is a pickle"):
        resolve_encoder(str(tmp_path))


def test_a_file_that_changed_after_the_check(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT)
    source = resolve_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot read"):
        load_encoder(source)
