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
    said = {"organisation": "Meta", "access": "gated", "released": "2024-07"}
    return [replace(models[0], published_dtype="bf16", **said), *models[1:]]


def test_a_line_says_what_a_model_is() -> None:
    line = next(line for line in _printed(_models()) if "llama-3.1-8b" in line)
    # name, who made it, when, precision, layers, width, parameters
    assert line.split() == ["llama-3.1-8b", "Meta", "2024-07", "bf16", "32", "4096", "8.03", "B"]
    wide = next(line for line in _printed(_models(), 130) if "llama-3.1-8b" in line)
    # On a wide terminal also who may have the weights, family, heads (of keys and values),
    # vocabulary, context, dense or sparse.
    expected = (
        "llama-3.1-8b Meta 2024-07 gated llama bf16 32 4096 32 (8) 128256 131072 dense 8.03 B"
    )
    assert wide.split() == expected.split()


def test_sides_of_an_encoder_with_a_decoder_are_added() -> None:
    both = replace(encoder_report().model, kind="encoder_decoder", layers=48, encoder_layers=24)
    lines = _printed([both])
    assert any(" 24 + 24 " in line for line in lines)
    assert any(line.startswith("layers: of the encoder") for line in lines)


def test_kinds_stand_together() -> None:
    models = _models()
    lines = [line.strip() for line in _printed([*models, models[0]])]
    assert lines.count("Decoders") == 1


def test_models_stand_under_their_kind() -> None:
    lines = [line.strip() for line in _printed(_models())]
    headings = [line for line in lines if line in ("Decoders", "Encoders", "Image models")]
    assert headings == ["Decoders", "Encoders", "Image models"]


def test_what_a_model_does_not_have_is_a_dash() -> None:
    line = next(line for line in _printed(_models(), 130) if "resnet-50" in line)
    assert line.split() == [
        "resnet-50",
        "–",
        "–",
        "–",
        "resnet",
        "–",
        "53",
        "2048",
        "–",
        "–",
        "–",
        "dense",
        "25.6",
        "M",
    ]


def test_equal_heads_are_said_once_and_brackets_are_explained() -> None:
    lines = _printed(_models(), 130)
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
