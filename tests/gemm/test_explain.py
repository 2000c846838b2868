"""The whole explanation: what is in it, and a reason for all that is not."""

from pathlib import Path

import pytest

from tests.gemm.example_machine import machine
from tests.gemm.test_sentences import ceilings
from topout.errors import CompilerError, UnsupportedError
from topout.gemm import explain as explaining
from topout.gemm.case import Case
from topout.gemm.explain import explain
from topout.kernels.gemm_ops import build_gemm, version_source
from topout.measure.counters import EventCounts

CASE = Case(100, 96, 80, "fp32", 2)


@pytest.fixture
def library() -> Path:
    try:
        return build_gemm(version_source("loop_order"), "fp32", "loop_order").path
    except CompilerError as missing:
        pytest.skip(str(missing))


def test_what_can_be_had_without_running_anything(library: Path) -> None:
    found = explain(
        "loop_order",
        library,
        CASE,
        machine(),
        ceilings=ceilings(),
        measured_s=1e-3,
        simulation=False,
    )
    assert [(each.level, each.source) for each in found.traffic] == [
        ("registers", "blocking"),
        ("L1", "blocking"),
        ("L2", "blocking"),
        ("L3", "blocking"),
    ]
    # A once for each value, B and C for each product.
    assert found.traffic[0].bytes == (100 * 80 + 2 * 100 * 96 * 80) * 4
    assert found.events == {}
    assert "events" in found.reasons
    text = " ".join(found.sentences)
    assert "FLOP/byte" in text
    assert "takes the longest" in text
    if "instructions" not in found.reasons:
        assert found.instructions is not None
        assert found.instructions.multiply_adds >= 1
        assert "innermost loop" in text


def test_a_simulation_is_beside_the_model_or_has_a_reason(library: Path) -> None:
    found = explain("loop_order", library, Case(24, 64, 64, "fp32", 1), machine())
    if "simulation" in found.reasons:
        assert not any(each.source == "cachegrind" for each in found.traffic)
    else:
        simulated = {e.level: e.bytes for e in found.traffic if e.source == "cachegrind"}
        assert simulated.keys() == {"L1", "L2"}
        assert all(count > 0 for count in simulated.values())
        assert any("Cachegrind" in sentence for sentence in found.sentences)


def test_without_objdump_and_valgrind_there_are_reasons(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = explain("loop_order", library, CASE, machine())
    assert "objdump" in found.reasons["instructions"]
    assert "valgrind" in found.reasons["simulation"]
    assert found.instructions is None
    assert found.traffic


def test_a_users_file_has_no_known_loops_whatever_its_name(library: Path, tmp_path: Path) -> None:
    source = tmp_path / "naive.cpp"
    found = explain("naive", library, CASE, machine(), source=source, simulation=False)
    assert "traffic" in found.reasons
    assert found.traffic == []
    unknown = explain("my_gemm", library, CASE, machine(), simulation=False)
    assert "traffic" in unknown.reasons


def test_an_empty_product_is_explained_by_reasons(library: Path) -> None:
    found = explain("loop_order", library, Case(0, 4, 4, "fp32", 1), machine(), ceilings=ceilings())
    assert "empty" in found.reasons["traffic"]


def test_hardware_events_become_traffic_and_sentences(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = EventCounts(
        {"cycles": 2e6, "instructions": 4e6, "l1d_load_misses": 1000.0, "l1d_loads": 1e5},
        {"node_loads": "no such event"},
    )
    monkeypatch.setattr(explaining, "count_product", lambda *_, **__: counted)
    found = explain("loop_order", library, CASE, machine(hardware_counters=True), simulation=False)
    assert found.events["cycles"] == 2e6
    assert [e.bytes for e in found.traffic if e.source == "counters"] == [64000.0]
    assert found.reasons["events.node_loads"] == "no such event"
    assert any("2.00 a cycle" in sentence for sentence in found.sentences)


def test_a_process_that_fails_to_count_is_a_reason(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> EventCounts:
        raise UnsupportedError("the process ended.", "")

    monkeypatch.setattr(explaining, "count_product", fail)
    found = explain("loop_order", library, CASE, machine(hardware_counters=None), simulation=False)
    assert "the process ended" in found.reasons["events"]
