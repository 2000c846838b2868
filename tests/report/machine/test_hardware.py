"""Tables of machines fit 80 columns, show both kinds of figures, and number their sources."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import topout
from topout.records import ComputePeak, Hardware, Link, MemoryLevel, read
from topout.report.document import Document
from topout.report.machine.hardware import hardware_document, hardware_list_document
from topout.report.to_terminal import to_terminal

# The report may not import the machine; its data are read as any file is.
DATA = Path(topout.__file__).parent / "machine/catalog/data"
SHIPPED = [read(path, Hardware) for path in sorted(DATA.glob("*.json"))]

BOX = Hardware(
    name="box",
    full_name="A box",
    device="cpu",
    vendor="me",
    memory_bytes=16 << 30,
    memory_source="I looked",
    compute=[
        ComputePeak(
            dtype="fp32",
            unit="vector",
            spec_flops_per_s=1e12,
            spec_source="the datasheet",
            achievable_flops_per_s=8e11,
            achievable_source="a benchmark",
        ),
        ComputePeak(dtype="int8", unit="matrix", achievable_flops_per_s=4e12),
    ],
    levels=[
        MemoryLevel(name="L2", capacity_bytes=1 << 20),
        MemoryLevel(
            name="DRAM",
            spec_bytes_per_s=50e9,
            spec_source="the datasheet",
            achievable_bytes_per_s=40e9,
            achievable_source="a benchmark",
        ),
    ],
    links=[Link(name="10 GbE", kind="ethernet", spec_bytes_per_s=1.25e9, latency_s=2e-5)],
    reasons={"compute.bf16": "no such instructions"},
)


def shown(document: Document, width: int = 80) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(to_terminal(document))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def row(lines: list[str], start: str) -> str:
    """The line that starts so, its runs of spaces as one."""
    found = next(line for line in lines if line.strip().startswith(start))
    return " ".join(found.split())


@pytest.mark.parametrize("hardware", SHIPPED, ids=lambda each: each.name)
def test_a_machine_fits_80_columns_and_nothing_is_cut(hardware):
    lines = shown(hardware_document(hardware))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    for link in hardware.links:
        assert link.name in text
    for field in hardware.reasons:
        assert field in text


def test_the_list_fits_80_columns_and_has_a_line_for_each():
    lines = shown(hardware_list_document(SHIPPED))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    for hardware in SHIPPED:
        assert row(lines, hardware.name)
    # 312e12 / 1555e9 = 200.6 FLOP/byte
    assert row(lines, "a100-40gb") == "a100-40gb 40.0 GiB 1.55 TB/s 19.5 T 312 T 624 T 201"


def test_both_figures_their_share_and_both_ridge_points():
    lines = shown(hardware_document(BOX))
    fp32 = row(lines, "fp32 vector")
    # 1e12 / 50e9 = 20 and 8e11 / 40e9 = 20 FLOP/byte; sources 1 and 2
    assert fp32 == "fp32 vector 1.00 TFLOP/s 800 GFLOP/s 80 % 20.0 20.0 1 2"
    int8 = row(lines, "int8 matrix")
    # 4e12 / 40e9 = 100; no datasheet
    assert int8 == "int8 matrix – 4.00 TOP/s – – 100"
    assert row(lines, "DRAM") == "DRAM – 50.0 GB/s 40.0 GB/s 80 % 1 2"
    assert row(lines, "10 GbE") == "10 GbE any 1.25 GB/s – 20.0 µs"


def test_a_source_is_written_once_and_numbered():
    lines = shown(hardware_document(BOX))
    words = [" ".join(line.split()) for line in lines]
    assert words.count("1 the datasheet") == 1
    assert words.count("2 a benchmark") == 1
    assert row(lines, "memory") == "memory I looked"
    assert row(lines, "compute.bf16") == "compute.bf16 no such instructions"


def test_measured_figures_stand_in_with_a_star():
    lines = shown(hardware_list_document([BOX]))
    assert "4.00 T*" in row(lines, "box")
    assert lines[-1].startswith("* measured")
    assert not any("*" in line for line in shown(hardware_list_document(SHIPPED[:1])))


def test_a_machine_of_gaps_is_shown_as_gaps():
    bare = Hardware(
        name="bare",
        full_name="Bare",
        device="gpu",
        vendor="me",
        memory_bytes=1 << 30,
        levels=[MemoryLevel(name="DRAM")],
    )
    assert "–" in row(shown(hardware_list_document([bare])), "bare")
    assert row(shown(hardware_document(bare)), "DRAM") == "DRAM – – – –"


def test_data_files_are_plain_json():
    for path in DATA.glob("*.json"):
        assert json.loads(path.read_text())["name"] == path.stem
