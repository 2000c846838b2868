"""/proc/cpuinfo of any kind."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from topout.machine.processor import parse_cpuinfo, read_processor, vector_isa
from topout.machine.topology import SystemFiles


def test_vectors_come_weakest_first() -> None:
    flags = {"avx512f", "sse2", "amx_bf16", "avx2", "avx", "fma", "amx_tile", "vme"}
    assert vector_isa(flags) == ["sse2", "avx", "fma", "avx2", "avx512f", "amx_tile", "amx_bf16"]
    assert vector_isa({"asimd", "asimddp", "sve2", "sve"}) == ["asimd", "dotprod", "sve", "sve2"]
    assert vector_isa({"rvv"}) == []


def test_blocks_of_cpuinfo() -> None:
    text = "processor\t: 0\nflags\t\t: a b\n\nprocessor\t: 1\n\n\nHardware\t: BCM2835\n"
    blocks = parse_cpuinfo(text)
    assert blocks == [
        {"processor": "0", "flags": "a b"},
        {"processor": "1"},
        {"Hardware": "BCM2835"},
    ]


def test_unknown_arm_core(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    text = "processor: 0\nCPU implementer: 0x41\nCPU part: 0xfff\n"
    (tmp_path / "proc/cpuinfo").write_text(text)
    assert read_processor(SystemFiles(tmp_path), {}).model == "Arm 0x41 part 0xfff"


@given(st.text())
def test_garbled_cpuinfo_never_crashes(text: str) -> None:
    for block in parse_cpuinfo(text):
        assert block


@given(st.text(max_size=20), st.text(max_size=20))
def test_garbled_arm_numbers_never_crash(implementer: str, part: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "proc").mkdir()
        text = f"CPU implementer: {implementer}\nCPU part: {part}\n"
        (root / "proc/cpuinfo").write_text(text, errors="surrogatepass")
        read_processor(SystemFiles(root), {})
