"""The catalog: every file is sound and sourced, its figures are the makers', names are found."""

from pathlib import Path

import pytest

from topout.errors import RecordError, UnknownNameError
from topout.machine.catalog.find import (
    DATA_FOLDER,
    catalog_names,
    check_hardware,
    find_hardware,
    known_hardware,
    same_device,
    save_hardware,
    shipped_hardware,
)
from topout.records import Hardware, encode
from topout.roofline import ridge_point

ASKED_FOR = [
    "v100-16gb",
    "v100-32gb",
    "a100-40gb",
    "a100-80gb",
    "h100-sxm",
    "h100-pcie",
    "h200",
    "b200",
    "l4",
    "t4",
    "rtx-4090",
    "mi250x",
    "mi300x",
    "xeon-e3-1270-v2",
    "xeon-platinum-8480plus",
    "epyc-9654",
    "apple-m1",
    "apple-m2-ultra",
    "apple-m4-max",
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path))


def peak(hardware: Hardware, dtype: str, unit: str) -> float:
    found = [p for p in hardware.compute if (p.dtype, p.unit) == (dtype, unit)]
    assert len(found) == 1
    assert found[0].spec_flops_per_s is not None
    return found[0].spec_flops_per_s


def reached(hardware: Hardware, dtype: str) -> float | None:
    found = [p for p in hardware.compute if (p.dtype, p.unit) == (dtype, "matrix")]
    return found[0].achievable_flops_per_s


def test_all_machines_are_there():
    assert set(ASKED_FOR) <= set(catalog_names())


@pytest.mark.parametrize("name", catalog_names())
def test_a_shipped_machine_is_sound_and_every_figure_has_its_source(name):
    hardware = shipped_hardware(name)  # decodes strictly and checks, sources included
    assert hardware.name == name
    assert hardware.source
    assert hardware.compute
    memory = hardware.levels[-1]
    assert memory.name in ("HBM", "DRAM")
    assert memory.spec_bytes_per_s is not None
    assert memory.capacity_bytes == hardware.memory_bytes


@pytest.mark.parametrize("name", catalog_names())
def test_what_a_shipped_machine_lacks_has_a_reason(name):
    hardware = shipped_hardware(name)
    reasons = hardware.reasons
    for dtype in ("bf16", "int8"):
        if not any(each.dtype == dtype for each in hardware.compute):
            assert f"compute.{dtype}" in reasons
    for level in hardware.levels:
        if level.spec_bytes_per_s is None and level.achievable_bytes_per_s is None:
            assert f"levels.{level.name}" in reasons
    if hardware.levels[-1].achievable_bytes_per_s is None:
        assert f"levels.{hardware.levels[-1].name}.achievable" in reasons
    if not hardware.links:
        assert "links" in reasons
    assert all(reason for reason in reasons.values())


@pytest.mark.parametrize("name", catalog_names())
def test_rates_are_dense_and_units_are_si(name):
    """A figure that is 1000 or 1024 times off, or taken with sparsity, breaks one of these."""
    hardware = shipped_hardware(name)
    matrix = {p.dtype: p.spec_flops_per_s for p in hardware.compute if p.unit == "matrix"}
    if "int8" in matrix and "bf16" in matrix:
        # 1 on CDNA 2, 2 on most, 4 on Ada's fp16 with sums in fp32.
        assert matrix["int8"] / matrix["bf16"] in (
            pytest.approx(1, rel=0.01),
            pytest.approx(2, rel=0.01),
            pytest.approx(4, rel=0.01),
        )
    assert 1e10 < (hardware.levels[-1].spec_bytes_per_s or 0) < 1e13
    for link in hardware.links:
        assert 1e9 < (link.spec_bytes_per_s or 0) <= 0.9e12
        assert link.latency_s is None or 1e-7 < link.latency_s < 1e-4


def test_a100():
    small, large = shipped_hardware("a100-40gb"), shipped_hardware("a100-80gb")
    for hardware in (small, large):
        # 108 SMs × 4 tensor cores × 256 FMA × 2 × 1.41 GHz = 311.9 TFLOP/s
        assert peak(hardware, "fp16", "matrix") == pytest.approx(312e12)
        assert peak(hardware, "bf16", "matrix") == pytest.approx(
            108 * 4 * 256 * 2 * 1.41e9, rel=1e-3
        )
        assert peak(hardware, "int8", "matrix") == 624e12
        assert peak(hardware, "tf32", "matrix") == 156e12
        # 108 SMs × 64 FMA × 2 × 1.41 GHz = 19.49 TFLOP/s
        assert peak(hardware, "fp32", "vector") == pytest.approx(19.5e12)
        assert reached(hardware, "bf16") == 271.2e12
    assert small.levels[-1].spec_bytes_per_s == 1555e9
    assert large.levels[-1].spec_bytes_per_s == 2039e9
    assert small.memory_bytes == 40 * 2**30
    assert large.memory_bytes == 80 * 2**30


def test_h100_and_h200():
    hardware = shipped_hardware("h100-sxm")
    # 132 SMs × 4 tensor cores × 512 FMA × 2 × 1.83 GHz = 989.4 TFLOP/s
    assert peak(hardware, "bf16", "matrix") == pytest.approx(132 * 4 * 512 * 2 * 1.83e9, rel=1e-3)
    # 132 SMs × 128 FMA × 2 × 1.98 GHz = 66.9 TFLOP/s
    assert peak(hardware, "fp32", "vector") == pytest.approx(132 * 128 * 2 * 1.98e9, rel=1e-3)
    assert reached(hardware, "bf16") == 794.5e12
    assert hardware.levels[-1].spec_bytes_per_s == 3350e9
    more = shipped_hardware("h200")
    assert peak(more, "fp8", "matrix") == peak(hardware, "fp8", "matrix") == 1978.9e12
    assert more.levels[-1].spec_bytes_per_s == 4800e9


def test_v100_mi300x_and_a_cpu():
    volta = shipped_hardware("v100-32gb")
    # 640 tensor cores × 64 FMA × 2 × 1.53 GHz = 125.3 TFLOP/s
    assert peak(volta, "fp16", "matrix") == pytest.approx(640 * 64 * 2 * 1.53e9, rel=3e-3)
    assert volta.levels[-1].spec_bytes_per_s == 900e9
    assert volta.links[0].spec_bytes_per_s == 150e9  # 6 links × 25 GB/s, one direction
    amd = shipped_hardware("mi300x")
    # 304 CUs × 4 matrix cores × 256 FMA × 2 × 2.1 GHz = 1307.4 TFLOP/s
    assert peak(amd, "bf16", "matrix") == pytest.approx(304 * 4 * 256 * 2 * 2.1e9, rel=1e-3)
    assert reached(amd, "bf16") == 668.4e12
    ivy = shipped_hardware("xeon-e3-1270-v2")
    # 4 cores × 3.5 GHz × (8 multiplications + 8 additions) = 224 GFLOP/s
    assert peak(ivy, "fp32", "vector") == 4 * 3.5e9 * 16
    # 2 channels × 1600 MT/s × 8 bytes = 25.6 GB/s
    assert ivy.levels[-1].spec_bytes_per_s == 2 * 1600e6 * 8


def test_amx_and_both_dies_of_mi250x():
    xeon = shipped_hardware("xeon-platinum-8480plus")
    # 56 cores × 2.0 GHz × 1024 FLOP a cycle = 114.7 TFLOP/s; fp32: 64 FLOP a cycle
    assert peak(xeon, "bf16", "matrix") == pytest.approx(56 * 2e9 * 1024, rel=1e-3)
    assert peak(xeon, "fp32", "vector") == 56 * 2e9 * 64
    module, die = shipped_hardware("mi250x"), shipped_hardware("mi250x-gcd")
    assert peak(module, "bf16", "matrix") == 2 * peak(die, "bf16", "matrix")
    assert module.levels[-1].spec_bytes_per_s == 2 * (die.levels[-1].spec_bytes_per_s or 0)


def test_ridge_points():
    a100 = shipped_hardware("a100-40gb")
    # 312e12 / 1555e9 = 200.6 FLOP/byte
    bandwidth = a100.levels[-1].spec_bytes_per_s or 0
    assert ridge_point(peak(a100, "fp16", "matrix"), bandwidth) == pytest.approx(200.6, abs=0.05)
    # At 1.5 TB/s the ridge is 208 FLOP/byte: n/16 passes it at n = 3328.
    assert 16 * ridge_point(peak(a100, "fp16", "matrix"), 1.5e12) == pytest.approx(3328)
    h100 = shipped_hardware("h100-sxm")
    # 989.4e12 / 3350e9 = 295.3
    assert ridge_point(
        peak(h100, "bf16", "matrix"), h100.levels[-1].spec_bytes_per_s or 0
    ) == pytest.approx(295.3, abs=0.1)


def test_the_checker_of_the_catalog_sees_a_figure_without_a_source(tmp_path):
    text = (DATA_FOLDER / "l4.json").read_text()
    cut = tmp_path / "cut.json"
    cut.write_text(text.replace('"spec_source"', '"achievable_source"', 1))
    hardware = find_hardware(str(cut))  # own files may leave sources out
    with pytest.raises(RecordError, match=r"compute\[0\]\.spec_flops_per_s.*no source"):
        check_hardware(hardware, "cut.json", sourced=True)


def test_names_are_found_in_any_case():
    assert find_hardware("A100-40GB") is shipped_hardware("a100-40gb")


@pytest.mark.parametrize("name", ["a100", "h100", "a100-80", "nothing-like-it", ""])
def test_an_unknown_name_offers_the_nearest_and_the_remedy(name):
    with pytest.raises(UnknownNameError) as caught:
        find_hardware(name)
    text = str(caught.value)
    assert f"unknown machine {name!r}" in text
    assert "topout machine list" in text
    if name.startswith("a100"):
        assert "a100-80gb" in text
    assert "\n" not in text


def test_devices_are_known_by_the_names_that_they_report():
    for reported, name in [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("Tesla V100-SXM2-32GB", "v100-32gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("AMD Instinct MI250X", "mi250x-gcd"),
        ("Intel(R) Xeon(R) CPU E3-1270 V2 @ 3.50GHz", "xeon-e3-1270-v2"),
        ("AMD EPYC 9654 96-Core Processor", "epyc-9654"),
    ]:
        found = same_device(reported)
        assert found is not None
        assert found.name == name
    assert same_device("NVIDIA H100 NVL") is None


def test_own_machines_come_first_in_the_list():
    save_hardware(shipped_hardware("t4"), "zz-box")
    names = [each.name for each in known_hardware()]
    assert names[0] == "zz-box"
    assert names[1:] == catalog_names()


def test_shipped_files_survive_being_written_again(tmp_path):
    for name in catalog_names():
        path = tmp_path / f"{name}.json"
        path.write_bytes(encode(shipped_hardware(name)))
        assert find_hardware(str(path)) == shipped_hardware(name)


def test_the_file_that_the_documentation_shows_is_a_machine(tmp_path):
    page = (Path(__file__).parents[2] / "docs/machines.md").read_text()
    path = tmp_path / "node.json"
    path.write_text(page.partition("```json\n")[2].partition("```")[0])
    assert find_hardware(str(path)).name == "node"


def test_the_documentation_names_every_machine():
    page = (Path(__file__).parents[2] / "docs/machines.md").read_text()
    for name in catalog_names():
        assert f"`{name}`" in page
