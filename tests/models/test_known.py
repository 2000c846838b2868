import pytest

from topout.errors import UnknownNameError
from topout.models.config import ModelConfig
from topout.models.known import (
    bundled_folder,
    hub_id,
    known_config,
    known_config_json,
    known_names,
    short_name,
)

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


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert known_config(name).parameters().total == PUBLISHED_PARAMETERS[name]


def test_every_name_has_a_config_of_its_name() -> None:
    for name in known_names():
        if bundled_folder(name) is None:
            config = known_config(name)
            assert isinstance(config, ModelConfig)
            assert config.name == name
            assert "/" in hub_id(name)


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
