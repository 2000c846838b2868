"""Models of transformers, built from config.json alone: structure and graph."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from topout import records
from topout.errors import InputError, UnsupportedError
from topout.models.known import known_config_json
from topout.models.structure.build import build_on_meta, example_inputs
from topout.records import GraphNode, Layer, LayersReport
from topout.verbs.list_layers import list_layers, report_layers

from ..test_own_module import CODE
from .test_graph import child, dangling, edges


def _report(name: str, **options: object) -> LayersReport:
    return report_layers(known_config_json(name), name, **options)  # type: ignore[arg-type]


def _find(layer: Layer, name: str) -> Layer:
    if layer.name == name:
        return layer
    inside = next(c for c in layer.children if name == c.name or name.startswith(f"{c.name}."))
    return _find(inside, name)


def _node(root: GraphNode, *labels: str) -> GraphNode:
    for label in labels:
        root = child(root, label)
    return root


def test_distilbert_of_the_mission() -> None:
    report = _report("distilbert-base-uncased")
    root = report.layers.root
    blocks = _find(root, "transformer.layer").children
    assert len(blocks) == 6
    assert _find(root, "transformer.layer.0.ffn.lin1").output_shapes == [[1, 128, 3072]]
    assert blocks[0].output_shapes[0] == [1, 128, 768]
    table = _find(root, "embeddings.word_embeddings")
    assert table.own_parameters == 30522 * 768
    assert report.graph is not None
    stack = _node(report.graph.root, "transformer", "layer.0")
    assert (stack.repeats, stack.last_label) == (6, "layer.5")


def test_gpt2_is_a_stack_of_twelve_blocks_with_two_residual_connections() -> None:
    report = _report("gpt2")
    assert report.class_name == "GPT2LMHeadModel"
    assert report.layers.parameters == 124_439_808
    graph = report.graph
    assert graph is not None and not dangling(graph)
    assert edges(graph.root) == ["transformer < ^0", "lm_head < transformer"]
    block = _node(graph.root, "transformer", "h.0")
    assert block.repeats == 12
    assert edges(block) == [
        *("ln_1 < ^0", "attn < ln_1", "+ < attn, ^0"),
        *("ln_2 < +", "mlp < ln_2", "+ < +, mlp"),
    ]


def test_the_attention_of_llama_takes_queries_keys_values_and_positions() -> None:
    graph = _report("llama-3.2-1b").graph
    assert graph is not None and not dangling(graph)
    assert edges(_node(graph.root, "model", "layers.0", "self_attn")) == [
        *("q_proj < ^0", "k_proj < ^0", "v_proj < ^0"),
        "apply_rotary_pos_emb < q_proj, ^1, ^2, k_proj",
        "eager_attention_forward < apply_rotary_pos_emb, apply_rotary_pos_emb, v_proj",
        "o_proj < eager_attention_forward",
    ]
    assert edges(_node(graph.root, "model", "layers.0", "mlp")) == [
        *("gate_proj < ^0", "act_fn < gate_proj", "up_proj < ^0"),
        *("× < act_fn, up_proj", "down_proj < ×"),
    ]


def test_the_decoder_of_t5_looks_into_the_encoder() -> None:
    graph = _report("t5-small").graph
    assert graph is not None and not dangling(graph)
    assert edges(graph.root)[:2] == ["encoder < ^0", "decoder < ^1, encoder"]
    # The first block alone holds the relative positions, whose bias all others take.
    blocks = _node(graph.root, "encoder").children
    assert [(each.label, each.repeats) for each in blocks[1:3]] == [("block.0", 1), ("block.1", 5)]
    assert blocks[2].inputs == ["encoder.block.0", "encoder.block.0"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("bert-base-uncased", 109_482_240),
        ("vit-base-patch16-224", 86_567_656),
        ("resnet-18", 11_689_512),
        ("mixtral-8x7b", 46_702_792_704),
        ("gemma-2-2b", 2_614_341_888),
        ("qwen3-0.6b", 596_049_920),
        ("pycode-7m", 7_498_240),
    ],
)
def test_each_family_runs_on_meta_and_holds_what_is_published(name: str, parameters: int) -> None:
    report = _report(name)
    assert report.layers.failure is None
    assert report.layers.parameters == parameters
    assert report.graph is not None and not dangling(report.graph)
    assert records.decode(records.encode(report), LayersReport) == report


def test_the_largest_model_is_told_without_its_memory() -> None:
    report = _report("llama-3.1-405b", dtype="bf16", length=1)
    assert report.layers.parameters == 405_853_388_800
    assert report.layers.parameter_bytes == 2 * 405_853_388_800


def test_batch_length_and_dtype_set_the_outputs() -> None:
    base = _report("gpt2", batch_size=1, length=16).layers
    assert base.root.output_shapes == [[1, 16, 50257]]
    larger = _report("gpt2", batch_size=3, length=16).layers
    # Positions are looked up once for the whole batch: 16·768 numbers.
    assert base.forward_bytes is not None
    assert larger.forward_bytes == 3 * base.forward_bytes - 2 * (16 * 768 * 4)
    assert _report("gpt2", length=16, dtype="bf16").layers.forward_bytes * 2 == base.forward_bytes


def test_the_class_that_a_config_names_is_built() -> None:
    fields = known_config_json("distilbert") | {"architectures": ["DistilBertForMaskedLM"]}
    assert type(build_on_meta(fields, "x")).__name__ == "DistilBertForMaskedLM"
    unknown = known_config_json("gpt2") | {"architectures": ["NotOfTransformers", "AutoConfig"]}
    assert type(build_on_meta(unknown, "x")).__name__ == "GPT2LMHeadModel"


def test_nothing_is_allocated() -> None:
    module = build_on_meta(known_config_json("gpt2"), "gpt2")
    assert {tensor.device.type for tensor in module.parameters()} == {"meta"}
    assert all(
        value.device.type == "meta"
        for inputs in example_inputs(module)
        for value in inputs.values()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({}, InputError, "model_type"),
        ({"model_type": "not-a-family"}, UnsupportedError, "not-a-family"),
        ({"model_type": "gpt2", "n_embd": 10, "n_head": 3}, InputError, "gpt2"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(
    fields: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_on_meta(fields, "folder")


def test_code_that_comes_with_a_checkpoint_is_never_run() -> None:
    fields = {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}
    with pytest.raises(UnsupportedError, match="mine"):
        build_on_meta(fields, "folder")
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"length": 0}, "length 0"),
        ({"length": 2000}, "2000 is above"),
        ({"dtype": "fp64"}, "fp64"),
        ({"depth": -2}, "depth -2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _report("gpt2", **options)


@pytest.mark.parametrize(
    ("model_type", "head", "class_name"),
    [
        ("bert", "masked-lm", "BertForMaskedLM"),
        ("bert", "none", "BertModel"),
        ("distilbert", "classify", "DistilBertForSequenceClassification"),
        ("roberta", "tokens", "RobertaForTokenClassification"),
        ("distilbert", "answers", "DistilBertForQuestionAnswering"),
        ("llama", "lm", "LlamaForCausalLM"),
        ("t5", "seq2seq", "T5ForConditionalGeneration"),
    ],
)
def test_a_head_is_chosen(model_type: str, head: Any, class_name: str) -> None:
    module = build_on_meta({"model_type": model_type}, "model", head=head)
    assert type(module).__name__ == class_name


def test_a_head_that_a_model_never_has() -> None:
    with pytest.raises(UnsupportedError, match=r"no llama with the head 'masked-lm'\. It has none"):
        build_on_meta({"model_type": "llama"}, "model", head="masked-lm")


def test_a_module_of_the_users_own(tmp_path: Path) -> None:
    """The two convolutions of a course on MNIST: 260 + 5,020 + 16,050 + 510 parameters."""
    (tmp_path / "net.py").write_text(CODE)
    found = list_layers(f"{tmp_path / 'net.py'}:Net", input=["1x1x28x28"])
    parameters = [layer.own_parameters for layer in found.layers.root.children]
    assert parameters == [260, 5020, 16_050, 510]
    assert found.layers.parameters == 21_840
    with pytest.raises(InputError, match="--batch-size is for models of transformers"):
        list_layers(f"{tmp_path / 'net.py'}:Net", input=["1x1x28x28"], batch_size=2)
    with pytest.raises(InputError, match="--input is for a module of your own"):
        list_layers("gpt2", input=["1x1x28x28"])
