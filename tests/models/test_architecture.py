"""Reading `config.json`: what each family's fields mean, and which are refused."""

import math
from copy import deepcopy  # transformers writes defaults into nested fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from topout.errors import InputError, TopoutError, UnsupportedError
from topout.models.architecture import total_parameters
from topout.models.architectures.read import read_architecture
from topout.models.checkpoint import expected_tensors
from topout.models.config import ModelConfig, architecture_of, read_config_json

from . import tiny
from .tiny_architectures import (
    BERT,
    DISTILBERT,
    FAMILIES,
    GEMMA,
    GEMMA2,
    GEMMA3,
    MIXTRAL,
    QWEN2_MOE,
    QWEN3_MOE,
    RESNET,
    ROBERTA,
    T5,
    VIT,
    read,
    transformers_model,
)

Fields = dict[str, Any]
RUNNABLE = ["gpt2", "llama", "mistral", "qwen2", "qwen3"]


def stacks(fields: Fields) -> list[tuple[str, int, int | None]]:
    return [(block.name, block.count, block.attention.window) for block in read(fields).blocks]


@pytest.mark.parametrize("name", RUNNABLE)
def test_what_topout_runs_is_read_once(name: str) -> None:
    config = ModelConfig.from_hugging_face(FAMILIES[name], "tiny")
    architecture = architecture_of(config)
    assert architecture == read(FAMILIES[name])
    stored = sum(math.prod(shape) for shape in expected_tensors(config).values())
    assert total_parameters(architecture) == stored
    assert (architecture.kind, architecture.name) == ("decoder", "tiny")
    block = architecture.blocks[0]
    assert (block.count, block.width, block.attention.heads) == (
        config.layers,
        config.width,
        config.heads,
    )
    assert block.attention.causal
    assert block.attention.rotary == (name != "gpt2")


@pytest.mark.parametrize("fields", FAMILIES.values())
def test_what_transformers_writes_is_read_back(fields: Fields, tmp_path: Path) -> None:
    stated = {key: value for key, value in fields.items() if key != "model_type"}
    AutoConfig.for_model(fields["model_type"], **deepcopy(stated)).save_pretrained(tmp_path)
    written = read_architecture(read_config_json(tmp_path), "tiny")
    assert msgspec.structs.replace(written, published_dtype=None) == read(fields)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        (
            tiny.LLAMA | {"architectures": ["LlamaForSequenceClassification"]},
            "names LlamaForSequenceClassification; LlamaForCausalLM is counted",
        ),
        (
            ROBERTA | {"architectures": ["RobertaForCausalLM"]},
            "names RobertaForCausalLM; RobertaModel is counted",
        ),
        (VIT | {"architectures": ["ViTForMaskedImageModeling"]}, "ViTForImageClassification is"),
    ],
)
def test_what_is_not_counted_is_said(fields: Fields, note: str) -> None:
    architecture = read(fields)
    assert any(note in sentence for sentence in architecture.not_counted)
    plain = {k: v for k, v in fields.items() if k != "architectures"}
    assert msgspec.structs.replace(architecture, not_counted=[]) == read(plain)


def test_the_old_name_of_t5_is_its_own() -> None:
    assert read(T5 | {"architectures": ["T5WithLMHeadModel"]}).not_counted == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (tiny.MISTRAL, [("block", 2, 7)]),
        (GEMMA, [("block", 3, None)]),
        # Gemma 2 slides in layers 0 and 2; Gemma 3 in all but the sixth.
        (GEMMA2, [("sliding_block", 2, 4096), ("full_block", 1, None)]),
        (GEMMA3, [("sliding_block", 7, 5), ("full_block", 1, None)]),
        (
            GEMMA3 | {"sliding_window_pattern": 2},
            [("sliding_block", 4, 5), ("full_block", 4, None)],
        ),
        (GEMMA3 | {"sliding_window": None}, [("block", 8, None)]),
        (
            GEMMA2 | {"layer_types": ["full_attention", "full_attention", "sliding_attention"]},
            [("full_block", 2, None), ("sliding_block", 1, 4096)],
        ),
        (
            tiny.QWEN2 | {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 9},
            [("full_block", 1, None), ("sliding_block", 1, 9)],
        ),
        (
            tiny.QWEN3 | {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 9},
            [("sliding_block", 2, 9)],
        ),
        (tiny.QWEN3 | {"use_sliding_window": True}, [("block", 2, None)]),
        (MIXTRAL | {"sliding_window": 6}, [("block", 3, 6)]),
        (
            QWEN2_MOE | {"mlp_only_layers": [1], "use_sliding_window": True, "sliding_window": 6},
            [("sliding_block", 2, 6), ("full_dense_block", 1, None)],
        ),
        (QWEN3_MOE | {"use_sliding_window": True}, [("sliding_block", 3, 4096)]),
        (QWEN3_MOE | {"decoder_sparse_step": 2}, [("dense_block", 2, None), ("block", 1, None)]),
    ],
)
def test_layers_of_different_kinds_are_different_stacks(
    fields: Fields, expected: list[tuple[str, int, int | None]]
) -> None:
    assert stacks(fields) == expected


@pytest.mark.parametrize("fields", [GEMMA2, GEMMA3, GEMMA3 | {"sliding_window_pattern": 3}])
def test_windows_lie_where_transformers_puts_them(fields: Fields) -> None:
    stated = {key: value for key, value in fields.items() if key != "model_type"}
    kinds = AutoConfig.for_model(fields["model_type"], **deepcopy(stated)).layer_types
    counts = {name.removesuffix("_block"): count for name, count, _ in stacks(fields)}
    assert counts == {
        "sliding": kinds.count("sliding_attention"),
        "full": kinds.count("full_attention"),
    }


def test_gemma() -> None:
    architecture = read(GEMMA2 | {"dtype": "bfloat16"})
    block = architecture.blocks[0]
    assert (block.norm, block.norm_bias, block.norms) == ("rms_norm", False, 4)
    assert (block.mlp.gated, block.mlp.activation) == (True, "gelu_tanh")
    assert (block.attention.head_size, block.attention.qk_norm) == (24, False)
    assert architecture.heads[0].tied
    assert (architecture.context_len, architecture.published_dtype) == (8192, "bf16")
    assert read(GEMMA).blocks[0].norms == 2
    assert read(GEMMA).blocks[0].attention.head_size == 256
    assert read(GEMMA | {"hidden_act": "gelu"}).blocks[0].mlp.activation == "gelu_tanh"
    assert read(GEMMA3).blocks[0].attention.qk_norm


def test_mixtures_of_experts() -> None:
    mlp = read(QWEN2_MOE).blocks[0].mlp
    assert (mlp.width, mlp.experts, mlp.experts_per_token, mlp.shared_width) == (40, 6, 2, 56)
    attention = read(QWEN2_MOE).blocks[0].attention
    assert (attention.qkv_bias, attention.out_bias, attention.qk_norm) == (True, False, False)
    dense = read(QWEN3_MOE | {"mlp_only_layers": [0]}).blocks[0]
    assert (dense.name, dense.mlp.width, dense.mlp.experts) == ("dense_block", 144, 0)
    mixtral = read(MIXTRAL).blocks[0].mlp
    assert (mixtral.experts, mixtral.experts_per_token) == (5, 2)
    renamed = {k: v for k, v in MIXTRAL.items() if k != "num_local_experts"} | {"num_experts": 5}
    assert read(renamed) == read(MIXTRAL)


def test_absent_and_null_key_value_heads() -> None:
    for name in ("mistral", "qwen2", "qwen3", "gemma", "gemma2", "mixtral", "qwen2_moe"):
        fields = FAMILIES[name] | {"num_attention_heads": 32}
        absent = {key: value for key, value in fields.items() if key != "num_key_value_heads"}
        default = AutoConfig.for_model(name).num_key_value_heads
        assert read(absent).blocks[0].attention.kv_heads == default
        null = read(fields | {"num_key_value_heads": None})
        assert null.blocks[0].attention.kv_heads == 32


def test_encoders() -> None:
    bert = read(BERT)
    assert (bert.kind, bert.counted_as, bert.context_len) == ("encoder", "BertModel", 512)
    assert [table.name for table in bert.embeddings] == ["tokens", "positions", "token_types"]
    assert (bert.embedding_norm, bert.final_norms) == ("layer_norm", 0)
    assert [(head.name, head.per) for head in bert.heads] == [("pooler", "sequence")]
    assert not bert.blocks[0].attention.causal
    # RoBERTa counts positions from behind the padding's row: 512 rows hold 510 tokens.
    assert read(ROBERTA).context_len == 510
    assert read(ROBERTA).embeddings[1].rows == 512
    distilbert = read(DISTILBERT)
    assert [table.name for table in distilbert.embeddings] == ["tokens", "positions"]
    assert distilbert.heads == []
    masked = read(BERT | {"architectures": ["BertForMaskedLM"]}).heads
    assert [(head.name, head.tied, head.norm) for head in masked] == [
        ("transform", False, "layer_norm"),
        ("head", True, None),
    ]


def test_t5() -> None:
    t5 = read(T5 | {"num_decoder_layers": 5})
    encoder, decoder = t5.blocks
    assert (t5.kind, t5.final_norms, t5.context_len) == ("encoder_decoder", 2, None)
    assert (encoder.name, encoder.count, encoder.norms) == ("encoder", 2, 2)
    assert (decoder.name, decoder.count, decoder.norms) == ("decoder", 5, 3)
    assert not encoder.attention.causal
    assert encoder.cross_attention is None
    assert decoder.attention.causal
    assert decoder.cross_attention is not None
    assert decoder.cross_attention.cross
    assert decoder.cross_attention.relative_buckets == 0
    assert (encoder.attention.head_size, encoder.attention.relative_buckets) == (64, 32)
    assert (encoder.mlp.gated, encoder.mlp.activation) == (False, "relu")
    gated = read(T5 | {"feed_forward_proj": "gated-gelu"}).blocks[0].mlp
    assert (gated.gated, gated.activation) == (True, "gelu_tanh")
    assert read(T5 | {"architectures": ["T5EncoderModel"]}).kind == "encoder"


def test_vit() -> None:
    vit = read_architecture(VIT | {"image_size": 224}, "tiny")
    patches = vit.convolutions[0]
    assert vit.context_len == 197  # 14 · 14 patches and the class token
    assert (patches.kernel, patches.stride, patches.out_height, patches.out_width) == (
        16,
        16,
        14,
        14,
    )
    assert (patches.in_channels, patches.out_channels, patches.bias) == (3, 64, True)
    assert [(table.name, table.rows) for table in vit.embeddings] == [
        ("class_token", 1),
        ("positions", 197),
    ]
    assert not any(table.lookup for table in vit.embeddings)
    assert (vit.kind, vit.final_norms, vit.vocab_size) == ("image", 1, None)
    # A larger image has more tokens; the table of positions is stretched, not enlarged.
    larger = read_architecture(VIT | {"image_size": 224}, "tiny", image_size=384)
    assert (larger.context_len, larger.embeddings[1].rows) == (24 * 24 + 1, 197)


def sizes_run_by_transformers(fields: Fields, image_size: int) -> list[tuple[int, ...]]:
    """Kernel, stride, channels and output size of each convolution, as it runs on meta tensors."""
    model = transformers_model(fields, "ResNetForImageClassification").eval()
    ran: list[tuple[int, ...]] = []

    def record(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        kernel, stride = module.kernel_size[0], module.stride[0]
        ran.append((kernel, stride, module.in_channels, *output.shape[1:]))

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(record)
    model(torch.empty(1, 3, image_size, image_size, device="meta"))
    return sorted(ran)


@pytest.mark.parametrize("image_size", [224, 97])
@pytest.mark.parametrize(
    "fields",
    [
        RESNET,
        RESNET | {"layer_type": "basic"},
        RESNET | {"downsample_in_bottleneck": True, "downsample_in_first_stage": True},
    ],
)
def test_resnet_runs_the_convolutions_of_transformers(fields: Fields, image_size: int) -> None:
    architecture = read_architecture(fields, "tiny", image_size=image_size)
    names = [convolution.name for convolution in architecture.convolutions]
    assert len(set(names)) == len(names)
    counted = [
        (c.kernel, c.stride, c.in_channels, c.out_channels, c.out_height, c.out_width)
        for c in architecture.convolutions
        for _ in range(c.count)
    ]
    assert sorted(counted) == sizes_run_by_transformers(fields, image_size)


REFUSED = [
    ({}, "`model_type` is missing"),
    ({"model_type": 3}, "`model_type` is 3"),
    (tiny.GPT2 | {"n_head": 5}, "5 heads do not divide the width 48"),
    (tiny.LLAMA | {"num_key_value_heads": 3}, "3 key/value heads do not divide 4"),
    (BERT | {"num_attention_heads": 5}, "5 heads do not divide the width 64"),
    (BERT | {"num_hidden_layers": 0}, "`num_hidden_layers` is 0, and it has to be at least 1"),
    (BERT | {"hidden_size": "wide"}, "`hidden_size` is 'wide'"),
    (BERT | {"vocab_size": None}, "`vocab_size` is missing"),
    (BERT | {"architectures": "BertModel"}, "`architectures` is 'BertModel'"),
    (BERT | {"is_decoder": True}, "`is_decoder` is not supported"),
    (BERT | {"add_cross_attention": True}, "`add_cross_attention` is not supported"),
    (ROBERTA | {"max_position_embeddings": 2}, "`max_position_embeddings` is 2"),
    (DISTILBERT | {"dim": -64}, "`dim` is -64"),
    (BERT | {"hidden_act": "magic"}, "activation 'magic' is not supported"),
    (GEMMA | {"num_key_value_heads": 3}, "3 key/value heads do not divide 4"),
    (GEMMA | {"use_bidirectional_attention": True}, "bidirectional attention"),
    (GEMMA2 | {"num_hidden_layers": 10**12}, "`num_hidden_layers`.*at most 10000"),
    (GEMMA2 | {"hidden_size": 65}, "4 heads do not divide the width 65"),
    (GEMMA2 | {"layer_types": ["full_attention"]}, "`layer_types`.*list of 3, one per layer"),
    (GEMMA2 | {"layer_types": ["full_attention"] * 2 + ["mamba"]}, "`layer_types`.*mamba"),
    (GEMMA2 | {"layer_types": "full_attention"}, "`layer_types`.*a list of strings"),
    (MIXTRAL | {"num_experts_per_tok": 6}, "`num_experts_per_tok` is 6, and there are 5 experts"),
    (MIXTRAL | {"hidden_size": 66}, "4 heads do not divide the width 66"),
    (QWEN3_MOE | {"num_experts": 0}, "`num_experts` is 0"),
    (QWEN3_MOE | {"mlp_only_layers": [-1]}, "`mlp_only_layers`"),
    (T5 | {"d_kv": 0}, "`d_kv` is 0"),
    (T5 | {"feed_forward_proj": "twice-relu"}, "`feed_forward_proj` 'twice-relu'"),
    (T5 | {"feed_forward_proj": "gated-magic"}, "activation 'magic'"),
    (VIT | {"image_size": 65}, "65×65 is not a multiple of the `patch_size` 16"),
    (VIT | {"image_size": [64, 64, 64]}, "a height and a width"),
    (VIT | {"patch_size": [16, 8]}, "patches of 16×8 are not supported"),
    (VIT | {"num_labels": 3, "id2label": {"0": "a"}}, "`num_labels` is 3, and `id2label` names 1"),
    (VIT | {"num_labels": -1}, "`num_labels` is -1"),
    (RESNET | {"depths": [1, 2]}, "3 `hidden_sizes`, and 2 `depths`"),
    (RESNET | {"depths": [1, 0, 2]}, "`depths`"),
    (RESNET | {"hidden_sizes": []}, "`hidden_sizes`"),
    (RESNET | {"hidden_sizes": [15, 24, 40]}, "multiples of 4"),
    (RESNET | {"layer_type": "wide"}, "`layer_type` is 'wide'"),
    (RESNET | {"layer_type": "basic", "hidden_sizes": 64}, "`hidden_sizes` is 64"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_bad_configs_name_the_field(fields: Fields, message: str) -> None:
    with pytest.raises(TopoutError, match=message) as caught:
        read(fields)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_what_sets_the_size_has_to_be_stated() -> None:
    for name, fields in FAMILIES.items():
        for key in set(fields) & {"hidden_size", "n_embd", "dim", "d_model", "num_hidden_layers"}:
            with pytest.raises(InputError, match=f"`{key}` is missing"):
                read({k: v for k, v in FAMILIES[name].items() if k != key})


def test_an_unknown_family_is_pointed_to_the_graph_counter() -> None:
    with pytest.raises(UnsupportedError, match=r"'mamba'.*gpt2.*resnet.*topout\.cost\.graph"):
        read({"model_type": "mamba"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
MORE_FIELDS = ["architectures", "id2label", "layer_types", "use_sliding_window", "sliding_window"]
MORE_FIELDS += ["mlp_only_layers", "head_dim", "depths", "patch_size", "feed_forward_proj", "dtype"]


@settings(deadline=None)
@given(fields=st.sampled_from(list(FAMILIES.values())), data=st.data())
def test_any_value_in_any_field_gives_an_architecture_or_a_stated_error(
    fields: Fields, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from([*fields, *MORE_FIELDS]))
    try:
        architecture = read(fields | {key: data.draw(json_values)})
    except TopoutError as error:
        assert "\n" not in str(error)
        assert error.remedy
    else:
        assert total_parameters(architecture) > 0


def test_an_image_size_is_for_image_models() -> None:
    with pytest.raises(InputError, match="bert takes no images"):
        read_architecture(BERT, "tiny", image_size=224)
    with pytest.raises(InputError, match="100×100 is not a multiple"):
        read_architecture(VIT, "tiny", image_size=100)
    with pytest.raises(InputError, match="image size 0"):
        read_architecture(RESNET, "tiny", image_size=0)
    with pytest.raises(InputError, match="0×0"):
        read_architecture(VIT, "tiny", image_size=0)
