"""Known models at their true sizes against transformers' classes, on the meta device."""

import pytest

from topout.models.architecture import total_parameters
from topout.models.architectures.read import find_architecture
from topout.models.known import known_config_json

from .tiny_architectures import transformers_parameters


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "gpt2-xl",
        "llama-3-8b",
        "qwen3-4b",
        "gemma-2b",
        "gemma-2-27b",
        "gemma-3-1b",
        "mixtral-8x7b",
        "qwen1.5-moe-a2.7b",
        "qwen3-30b-a3b",
        "bert-base-uncased",
        "bert-large-uncased",
        "distilbert-base-uncased",
        "roberta-base",
        "xlm-roberta-large",
        "t5-small",
        "t5-large",
        "t5-11b",
        "vit-base-patch16-224",
        "vit-large-patch16-224",
        "resnet-18",
        "resnet-50",
        "resnet-152",
    ],
)
def test_parameters_at_the_true_size(name: str) -> None:
    architecture = find_architecture(name)
    built = transformers_parameters(known_config_json(name), architecture.counted_as)
    assert total_parameters(architecture) == built
