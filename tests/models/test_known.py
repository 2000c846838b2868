import pytest

from topout.errors import UnknownNameError, UnsupportedError
from topout.models.architecture import active_parameters, total_parameters
from topout.models.architectures.read import find_architecture
from topout.models.config import ModelConfig, architecture_of
from topout.models.known import (
    bundled_folder,
    countable_names,
    hub_id,
    known_config_json,
    known_names,
    short_name,
)
from topout.models.known_today import TODAY
from topout.models.source import resolve_model


def known_config(name: str) -> ModelConfig:
    return resolve_model(name, random_weights=True).config


PUBLISHED_PARAMETERS = {
    # 50257·768 tokens + 1024·768 positions + 12 layers + 2·768 last norm; a layer has
    # 768·2304 + 2304 (Q, K, V) + 768·768 + 768 (output) + 2·768·3072 + 3072 + 768 (MLP)
    # + 4·768 (norms) = 7,087,872; 38,597,376 + 786,432 + 85,054,464 + 1,536
    "gpt2": 124_439_808,
    # the same with 6 layers: 38,597,376 + 786,432 + 42,527,232 + 1,536
    "distilgpt2": 81_912_576,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    # 2·32000·4096 (embedding, head) + 32 layers of 4·4096² + 3·4096·11008 + 2·4096, + 4096:
    # 262,144,000 + 32·202,383,360 + 4,096
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "tinyllama-1.1b": 1_100_048_384,
    "qwen2-0.5b": 494_032_768,
    "qwen2-1.5b": 1_543_714_304,
    "qwen2-7b": 7_615_616_512,
    "qwen2.5-3b": 3_085_938_688,
    "qwen3-0.6b": 596_049_920,
    # 2·32000·4096 + 32 layers of 2·4096² (Q, output) + 2·4096·1024 (K, V) + 3·4096·14336
    # + 2·4096, + 4096: 262,144,000 + 32·218,112,000 + 4,096
    "mistral-7b": 7_241_732_096,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
}


# Published by the hub beside each checkpoint, as the number of its parameters.
CHECKPOINT_PARAMETERS = {
    "llama-3.1-405b": 405_853_388_800,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "gemma-2b": 2_506_172_416,
    "gemma-7b": 8_537_680_896,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "flan-t5-small": 76_961_152,
    "flan-t5-base": 247_577_856,
    "flan-t5-large": 783_150_080,
    "flan-t5-xl": 2_849_757_184,
    "flan-t5-xxl": 11_135_332_352,
    # torchvision's page of each: 11.7, 21.8, 25.6, 44.5, 60.2 million, and 86.6, 304.3 for ViT.
    "resnet-18": 11_689_512,
    "resnet-34": 21_797_672,
    "resnet-50": 25_557_032,
    "resnet-101": 44_549_160,
    "resnet-152": 60_192_808,
    "vit-base-patch16-224": 86_567_656,
    "vit-large-patch16-224": 304_326_632,
}

# Parameters as the papers round them, in millions, and why the count may differ by so much.
ROUNDED_MILLIONS = [
    ("bert-base-uncased", 110, 0.01),  # to 10 million
    # The paper's 340 million is rounded up: the encoder and pooler have 335.1 million, with the
    # masked-language and next-sentence heads 336.2.
    ("bert-large-uncased", 340, 0.015),
    ("distilbert-base-uncased", 66, 0.01),
    ("roberta-base", 125, 0.01),
    ("roberta-large", 355, 0.01),
    ("gpt2", 124, 0.01),
    ("gpt2", 117, 0.07),  # as first announced, and later corrected to 124
    ("gpt2-medium", 355, 0.01),
    ("gpt2-medium", 345, 0.03),  # as first announced, and later corrected to 355
    ("gpt2-large", 774, 0.001),
    ("gpt2-xl", 1558, 0.001),
    ("t5-small", 60, 0.01),
    ("t5-base", 220, 0.015),  # to 10 million
    # The paper's 770 million holds what version 1.1 has: 738 million, and a head of 33 million
    # that this checkpoint shares with the token table.
    ("t5-large", 770, 0.05),
    ("t5-3b", 2800, 0.02),  # to 100 million
    ("t5-11b", 11_000, 0.03),  # to a billion
]

# Parameters that a token passes through, in billions, by the models' own announcements.
ACTIVE_BILLIONS = [
    ("mixtral-8x7b", 12.9, 0.01),
    ("mixtral-8x22b", 39, 0.01),
    ("qwen1.5-moe-a2.7b", 2.7, 0.01),
    ("qwen3-30b-a3b", 3.3, 0.02),
    ("qwen3-235b-a22b", 22, 0.01),
]


@pytest.mark.parametrize("name", CHECKPOINT_PARAMETERS)
def test_counted_parameters_are_the_published_ones(name: str) -> None:
    assert total_parameters(find_architecture(name)) == CHECKPOINT_PARAMETERS[name]


@pytest.mark.parametrize(("name", "millions", "tolerance"), ROUNDED_MILLIONS)
def test_rounded_figures(name: str, millions: float, tolerance: float) -> None:
    counted = total_parameters(find_architecture(name))
    assert counted == pytest.approx(millions * 1e6, rel=tolerance)


@pytest.mark.parametrize(("name", "billions", "tolerance"), ACTIVE_BILLIONS)
def test_active_parameters(name: str, billions: float, tolerance: float) -> None:
    counted = active_parameters(find_architecture(name))
    assert counted == pytest.approx(billions * 1e9, rel=tolerance)


def test_t5_large_with_a_head_of_its_own_is_as_the_paper_says() -> None:
    tied = find_architecture("t5-large")
    assert total_parameters(tied) + 32128 * 1024 == pytest.approx(770e6, rel=0.002)


def test_shape_of_distilbert() -> None:
    distilbert = find_architecture("distilbert-base-uncased")
    block = distilbert.blocks[0]
    assert (block.count, block.width, block.mlp.width) == (6, 768, 3072)
    assert (distilbert.vocab_size, block.attention.heads) == (30522, 12)


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert total_parameters(architecture_of(known_config(name))) == PUBLISHED_PARAMETERS[name]


def test_every_name_has_a_config_of_its_name() -> None:
    for name in known_names():
        if bundled_folder(name) is None:
            config = known_config(name)
            assert isinstance(config, ModelConfig)
            assert config.name == name
            assert "/" in hub_id(name)


def test_what_is_counted_but_does_not_run() -> None:
    counted = countable_names()
    assert set(known_names()) < set(counted)
    assert {"bert-base-uncased", "mixtral-8x7b", "resnet-50"} <= set(counted) - set(known_names())
    assert {"llama-3.1-405b", "qwen3-32b"} <= set(known_names())
    with pytest.raises(UnsupportedError, match="'bert' is not supported"):
        known_config("bert-base-uncased")


def test_every_countable_name_has_an_architecture_of_its_name() -> None:
    for name in countable_names():
        if name in TODAY:  # counted by their modules: test_known_today
            continue
        architecture = find_architecture(name)
        assert architecture.name == ("pycode-7m" if name == "bundled" else name)
        assert architecture.not_counted == [] or architecture.model_type == "resnet"


def test_other_names_of_known_models() -> None:
    assert short_name("Llama-3-405B") == "llama-3.1-405b"
    assert short_name("bert-large") == "bert-large-uncased"
    assert hub_id("bert-base") == "google-bert/bert-base-uncased"


def test_a_hub_id_is_known_in_any_case() -> None:
    assert short_name("openai-community/GPT2") == "gpt2"
    assert known_config("Qwen/Qwen2-0.5B").name == "qwen2-0.5b"
    assert hub_id("GPT2") == "openai-community/gpt2"
    assert short_name("someone/gpt2") is None
    assert hub_id("someone/gpt2") == "someone/gpt2"


def test_bundled_names() -> None:
    default = bundled_folder("bundled")
    assert default == bundled_folder("pycode-7m")
    assert default is not None
    assert default.name == "pycode-7m"
    assert bundled_folder("pycode-1m") != default
    assert bundled_folder("gpt2") is None
    assert known_names()[0] == "pycode-7m"


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'gtp2'.*Did you mean gpt2"):
        known_config("gtp2")
    with pytest.raises(UnknownNameError, match="llama-2-7b"):
        known_config("llama2-7b")


def test_the_table_cannot_be_changed_through_a_result() -> None:
    known_config_json("gpt2")["n_layer"] = 1
    assert known_config("gpt2").layers == 12
    known_config_json("resnet-50")["depths"].append(1)
    assert known_config_json("resnet-50")["depths"] == [3, 4, 6, 3]
