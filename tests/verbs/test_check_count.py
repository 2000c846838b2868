"""Two counts of each architecture: they agree, and a wrong formula is caught."""

import msgspec
import pytest
import torch

from tests.models.tiny_architectures import FAMILIES, read
from topout.models.structure.build import build_on_meta, example_inputs
from topout.verbs.check_count import check_count, compare

# Known sizes that are quick to build; each has its own tensors of parameters only as shapes.
KNOWN = ["gpt2", "llama-3.2-1b", "bert-base-uncased", "t5-small", "resnet-50", "qwen3-0.6b"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_formula_and_trace_agree_exactly(family: str) -> None:
    fields = FAMILIES[family]
    architecture = read(fields)
    module = build_on_meta(fields, "tiny")
    length = None if architecture.kind == "image" else 7
    choices = example_inputs(module, 2, length)
    found = compare(architecture, module, choices, 2, length or 1)
    assert found.agrees, found
    assert found.failure is None and not found.not_counted
    assert found.comparisons[0].difference == 0 or family == "resnet"
    assert sum(each.formula for each in found.comparisons) > 0


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_agree_at_full_size(name: str) -> None:
    found = check_count(name, length=16 if name != "resnet-50" else None)
    assert found.agrees and all(each.difference == 0 for each in found.comparisons), found


def test_an_untied_head_that_transformers_ties_is_explained() -> None:
    found = check_count("flan-t5-base", length=4)
    parameters = found.comparisons[-1]
    assert parameters.difference == -32128 * 768
    assert found.agrees and parameters.reason is not None and "ties" in parameters.reason


def test_a_wrong_formula_is_caught() -> None:
    fields = FAMILIES["gpt2"]
    architecture = read(fields)
    block = architecture.blocks[0]
    wrong = msgspec.structs.replace(
        architecture,
        blocks=[
            msgspec.structs.replace(
                block, mlp=msgspec.structs.replace(block.mlp, width=block.mlp.width + 1)
            )
        ],
    )
    module = build_on_meta(fields, "tiny")
    found = compare(wrong, module, example_inputs(module, 1, 5), 1, 5)
    assert not found.agrees
    assert found.comparisons[0].difference < 0


def test_a_run_that_breaks_off_is_no_agreement() -> None:
    fields = FAMILIES["gpt2"]
    architecture = read(fields)
    module = build_on_meta(fields, "tiny")
    wrong = {"input_ids": torch.zeros(1, 5, device="meta")}  # floats are no tokens
    found = compare(architecture, module, [wrong], 1, 5)
    assert not found.agrees and found.failure is not None
