"""The cost of a model on the terminal."""

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace
from rich.console import Console

from topout.records import CostReport, MachineCost
from topout.report import describe
from topout.report.to_terminal import to_terminal

from .any_cost import cost_reports
from .example_cost import (
    MARKUP,
    NO_BANDWIDTH,
    bare_report,
    decoder_report,
    encoder_report,
    image_report,
    many_machines_report,
    marked_up_report,
    mixture_report,
)

REPORTS = [
    bare_report,
    decoder_report,
    encoder_report,
    image_report,
    many_machines_report,
    marked_up_report,
    mixture_report,
]


def printed(report: CostReport, width: int, colour: bool = False, full: bool = True) -> str:
    output = io.StringIO()
    console = Console(
        width=width,
        file=output,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
    )
    console.print(to_terminal(describe(report, full=full)))
    return output.getvalue()


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("make", REPORTS)
@pytest.mark.parametrize("width", [80, 104, 140])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(
    make: Callable[[], CostReport], width: int
) -> None:
    text = printed(make(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "None" not in text
    assert "nan" not in text


def test_the_headline_says_what_the_model_is_and_what_was_asked() -> None:
    text = squeezed(printed(decoder_report(), 80))
    assert "decoder (llama), 32 layers, 4096 wide, 32 heads (8 of keys and values)" in text
    assert "8.03 B parameters: embedding 525 M, attention 1.34 B, mlp 5.64 B" in text
    assert "prompt of 512 tokens, decode at context 1024, batch 1, bf16, compiled" in text
    assert "How it is counted • 1 multiply-add = 2 FLOPs" in text


def test_a_mixture_names_what_a_token_passes_through_and_how_it_is_split() -> None:
    text = squeezed(printed(mixture_report(), 80))
    assert "141 B parameters, of which a token passes through 39.2 B" in text
    assert "bf16 (weights int4), tensor parallel 8, data parallel 2" in text


@pytest.mark.parametrize("width", [80, 140])
def test_every_machine_has_a_column_with_its_figures(width: int) -> None:
    text = printed(decoder_report(), width)
    for figure in (
        "28.1 ms",  # prefill of the a100
        "24.7–33.7 ms",  # 28.1 ms × 0.88 and × 1.2
        "18200",
        "91 % of time",
        "105",
        "87.4–119",
        "78 %",
        "227",  # tokens/s of the h200
        "192 ms",  # a token on the Xeon
        "131072",
        "412",
    ):
        assert figure in text
    for name in ("Prefill", "Decode", "Training step", "Memory", "devices for inference"):
        assert name in text


def test_six_machines_are_cut_into_tables_that_fit() -> None:
    text = printed(many_machines_report(), 80)
    headings = [line for line in text.splitlines() if "rtx-4090" in line and "a100" not in line]
    assert headings  # in a table of its own
    assert text.count("devices for") == 2
    assert printed(many_machines_report(), 140).count("devices for inference") == 1


def test_a_machine_without_figures_has_dashes_and_the_reason_once() -> None:
    text = printed(many_machines_report(), 140)
    assert f"my-own-npu, decode: {NO_BANDWIDTH}" in squeezed(text)
    assert text.count(NO_BANDWIDTH) == 1
    line = next(line for line in text.splitlines() if "time per token" in line)
    assert line.rstrip().endswith("–")


def test_a_report_without_any_machine_has_its_counts_and_the_reason() -> None:
    report = decoder_report()
    counted = _counts_alone(report.machines[0], "nothing was measured")
    text = squeezed(printed(replace(report, machines=[counted]), 104))
    assert "15.5 GFLOP in products" in text
    assert "prefill, decode, training, time: nothing was measured" in text
    assert "no machine" not in text
    assert "Fine-tuning" not in text


def _counts_alone(machine: MachineCost, reason: str) -> MachineCost:
    def untimed(phase: str) -> object:
        return replace(
            getattr(machine, phase), time_s=None, interval_s=None, bound=None, reason=reason
        )

    return replace(
        machine,
        name="no machine",
        hardware=None,
        fit=None,
        decode_tokens_per_s=None,
        interval=None,
        reasons={"time": reason},
        **{phase: untimed(phase) for phase in ("prefill", "decode", "training")},
    )


@pytest.mark.parametrize("width", [80, 104, 140])
def test_the_block_is_taken_apart_op_by_op(width: int) -> None:
    text = printed(decoder_report(), width)
    decode = text[text.index("Decode, context 1024, batch 1, on a100-80gb") :]
    decode = decode[: decode.index("Training step, 512")]
    # qkv of a token: 2 · 32 · 4096 · 6144 FLOPs and 2 bytes for each of 32 · 4096 · 6144 weights.
    row = next(line for line in decode.splitlines() if "qkv" in line)
    assert "1.61 G" in row
    assert "1.00" in row
    assert "memory" in row
    assert "10.7 %" in row
    assert "1×4096 · 4096×6144" in decode
    total = next(line for line in decode.splitlines() if line.startswith("all"))
    assert re.findall(r"15\.5 G|15\.1 G|9\.53 ms|100 %", total) == [
        "15.5 G",
        "15.1 G",
        "9.53 ms",
        "100 %",
    ]
    assert "9.53 ms = 8.66 ms memory + 873 µs overhead" in squeezed(decode)


def test_ops_stand_in_the_order_in_which_they_run() -> None:
    text = printed(decoder_report(), 104)
    names = re.findall(r"^(embedding|norms|qkv|attention|mlp_down|head) ", text, re.MULTILINE)
    assert names[:6] == ["embedding", "norms", "qkv", "attention", "mlp_down", "head"]


def test_of_many_ops_the_longest_stand_alone_and_the_others_together() -> None:
    text = printed(image_report(), 104)
    assert len(re.findall(r"stage\d\.\d\.conv\d", text)) == 36  # of 48
    row = next(line for line in text.splitlines() if "12 others" in line)
    assert "24.0 G" in row  # 12 · 2 GFLOP
    assert "25.0 %" in row  # 12 of 48 equal ones


def test_wide_terminals_show_the_terms_of_the_time() -> None:
    head = next(line for line in printed(decoder_report(), 140).splitlines() if "runs" in line)
    for column in ("compute", "memory", "overhead"):
        assert column in head


def test_what_the_cache_saves() -> None:
    text = squeezed(printed(decoder_report(), 80))
    # Of a token and all layers: 2 · 32 · 4096 · 2048 = 537 M FLOPs, and as many bytes in bf16.
    sentence = "a new token's K and V, all layers together: 537 MFLOP, 537 MB, intensity 1.00"
    assert sentence in text
    assert "FLOPs 16.0 GFLOP 16.3 TFLOP 1020×" in text  # 16.3e12 ÷ 16.0e9 = 1019
    assert "time on h200 4.40 ms 60.0 ms 13.6×" in text


def test_the_memory_of_cache_and_training() -> None:
    text = squeezed(printed(decoder_report(), 80))
    # 131072 bytes a token · 131072 tokens · 128 sequences = 2 TiB.
    assert "131072 16.0 GiB 128 GiB 512 GiB 2.00 TiB" in text
    # 8.03e9 · (2 + 2 + 12) bytes + 58 GiB; of the three machines only the Xeon holds 178 GiB.
    assert "nothing 0 15.0 GiB 15.0 GiB 89.7 GiB 57.5 GiB 512 MiB 178 GiB" in text
    wide = squeezed(printed(decoder_report(), 120))
    assert "89.7 GiB 57.5 GiB 512 MiB 178 GiB 1 of 3" in wide


def test_findings_assumptions_and_what_is_not_counted_are_there() -> None:
    report = decoder_report()
    text = squeezed(printed(report, 80))
    for sentence in [*report.findings, *report.conventions, *report.not_counted]:
        assert sentence in text
    # Made for all three machines, so that it needs no names.
    assert "• attention is fused and reads the KV cache once." in text


def test_a_terminal_gets_colour_and_a_file_none() -> None:
    assert "\x1b[34m" in printed(decoder_report(), 100, colour=True)
    assert "\x1b" not in printed(decoder_report(), 100)


def test_markup_is_text() -> None:
    text = printed(marked_up_report(), 140)
    assert text.count(MARKUP) > 10
    assert "[red]not a style[/red]" in text


@pytest.mark.parametrize("make", [encoder_report, image_report, mixture_report])
def test_one_machine_fits_on_one_screen(make: Callable[[], CostReport]) -> None:
    short, full = printed(make(), 80, full=False), printed(make(), 80)
    assert len(short.splitlines()) <= 40
    assert all(finding in squeezed(short) for finding in make().findings)
    assert len(full) > len(short)
    assert "--full" in short and "--full" not in full


def test_fine_tuning_is_not_taken_for_inference() -> None:
    """One machine that holds the weights and not what training keeps beside them."""
    report = decoder_report()
    first = report.machines[0]
    assert first.fit is not None
    fit = replace(first.fit, fits=True, training_bytes=102 * 2**30, training_fits=False)
    one = replace(report, machines=[replace(first, fit=fit)])
    text = squeezed(printed(one, 80, full=False))
    assert "Inference fits (" in text
    assert "Fine-tuning needs 102 GiB; does not fit" in text
    fits = replace(fit, training_fits=True)
    text = squeezed(printed(replace(one, machines=[replace(first, fit=fits)]), 80, full=False))
    assert "Fine-tuning needs 102 GiB; fits" in text
    # Side by side the figure has its answer below it, and no "yes" that could be another's.
    two = replace(one, machines=[one.machines[0], report.machines[1]])
    text = squeezed(printed(two, 80, full=False))
    assert "fine-tuning needs 102 GiB" in text and "inference as asked fits" in text
    assert "yes" not in text


def test_the_one_machine_has_every_figure_of_its_phases() -> None:
    report = decoder_report()
    text = squeezed(printed(replace(report, machines=report.machines[:1]), 120, full=False))
    for figure in (
        "28.1 ms",
        "24.7–33.7 ms",
        "18200 tokens",
        "compute",
        "91 % of time",
        "MBU 78 %",
    ):
        assert figure in text
    assert "15.5 G" in text  # FLOPs of a token


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(cost_reports())
def test_any_report_can_be_printed(report: CostReport) -> None:
    assert printed(report, 80).strip()
    assert printed(report, 140).strip()
