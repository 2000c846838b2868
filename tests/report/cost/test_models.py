"""The list of known models on a terminal of 80 columns."""

import io

from msgspec.structs import replace
from rich.console import Console

from topout.records import CostedModel
from topout.report.cost.models import known_models_document
from topout.report.to_terminal import to_terminal

from .example_cost import decoder_report, encoder_report, image_report, mixture_report


def _printed(models: list[CostedModel], width: int = 80) -> list[str]:
    output = io.StringIO()
    Console(width=width, file=output).print(to_terminal(known_models_document(models)))
    return output.getvalue().splitlines()


def _models() -> list[CostedModel]:
    reports = (decoder_report(), mixture_report(), encoder_report(), image_report())
    models = [report.model for report in reports]
    return [replace(models[0], published_dtype="bf16"), *models[1:]]


def test_a_line_says_what_a_model_is() -> None:
    line = next(line for line in _printed(_models()) if "llama-3.1-8b" in line)
    # name, family, precision, layers, width, heads (of keys and values), vocabulary, context,
    # parameters
    expected = "llama-3.1-8b llama bf16 32 4096 32 (8) 128256 131072 8.03 B"
    assert line.split() == expected.split()


def test_models_stand_under_their_kind() -> None:
    lines = [line.strip() for line in _printed(_models())]
    headings = [line for line in lines if line in ("Decoders", "Encoders", "Image models")]
    assert headings == ["Decoders", "Encoders", "Image models"]


def test_what_a_model_does_not_have_is_a_dash() -> None:
    line = next(line for line in _printed(_models()) if "resnet-50" in line)
    assert line.split() == ["resnet-50", "resnet", "–", "53", "2048", "–", "–", "–", "25.6", "M"]


def test_equal_heads_are_said_once_and_brackets_are_explained() -> None:
    lines = _printed(_models())
    assert " 12  30522" in next(line for line in lines if "bert-base" in line)
    assert any("(39.2 B)" in line for line in lines)
    assert any(line.startswith("params: in brackets") for line in lines)
    assert not any("brackets" in line for line in _printed([image_report().model]))


def test_80_columns_are_enough() -> None:
    longest = replace(
        mixture_report().model, architecture="qwen3_moe", heads=128, kv_heads=16, vocab_size=262144
    )
    lines = _printed([*_models(), longest])
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_no_model_is_no_error() -> None:
    assert _printed([])
