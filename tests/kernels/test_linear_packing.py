"""The fastest build is measured once, and remembered for these builds on this CPU alone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from topout.kernels import linear_packing
from topout.kernels.linear_packing import fastest_flags

HALF = ("-DTOPOUT_VECTOR_BYTES=32",)


class Library:
    def __init__(self, instructions: str) -> None:
        self.instructions = instructions
        self.path = Path(f"linear-{instructions.split()[0]}.so")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    fastest_flags.cache_clear()
    yield tmp_path
    fastest_flags.cache_clear()


def has(monkeypatch: pytest.MonkeyPatch, wide: str, half_is_faster: bool | None) -> list[str]:
    """A machine of such instructions; `half_is_faster` None: it must not be measured."""
    asked: list[str] = []

    def faster(kind: str, one: object, other: object) -> bool:
        assert half_is_faster is not None, "measured"
        asked.append(kind)
        return half_is_faster

    monkeypatch.setattr(
        linear_packing, "linear_library", lambda flags: Library("avx2" if flags else wide)
    )
    monkeypatch.setattr(linear_packing, "_faster", faster)
    return asked


def test_one_width_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "avx2 vpdpbusd", None)
    assert fastest_flags("fp32") == ()


@pytest.mark.parametrize("half_is_faster", [True, False])
def test_it_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, cache: Path, half_is_faster: bool
) -> None:
    asked = has(monkeypatch, "avx512 vpdpbusd", half_is_faster)
    expected = HALF if half_is_faster else ()
    assert fastest_flags("int8") == expected
    has(monkeypatch, "avx512 vpdpbusd", None)
    fastest_flags.cache_clear()
    assert fastest_flags("int8") == expected
    assert asked == ["int8"]
    assert [file.suffix for file in (cache / "kernels").iterdir()] == [".json"]


def of_another_cpu(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"cpu": "another"}))


def cut(file: Path) -> None:
    file.write_text(file.read_text()[:-5])


def of_another_form(file: Path) -> None:
    file.write_text("[1, 2]")


@pytest.mark.parametrize("damage", [of_another_cpu, cut, of_another_form])
def test_what_does_not_hold_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, cache: Path, damage: Callable[[Path], None]
) -> None:
    has(monkeypatch, "avx512", True)
    fastest_flags("fp32")
    damage(next((cache / "kernels").iterdir()))
    asked = has(monkeypatch, "avx512", False)
    fastest_flags.cache_clear()
    assert fastest_flags("fp32") == () and asked == ["fp32"]


def test_formats_are_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = has(monkeypatch, "avx512", True)
    fastest_flags("fp32")
    fastest_flags("bf16")
    assert asked == ["fp32", "bf16"]


def test_the_comparison_itself_runs() -> None:
    for kind in ("fp32", "bf16", "int8", "int4"):
        assert linear_packing._faster(kind, (), HALF) in (True, False)  # type: ignore[arg-type]
