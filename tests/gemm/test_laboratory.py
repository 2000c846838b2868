"""The laboratory end to end, in real worker processes, on products that are right and wrong."""

import functools
from pathlib import Path

import pytest

from tests.gemm.own_sources import INT8, PACKING, RIGHT, WRONG, write_source
from topout.errors import InputError, UnknownNameError
from topout.gemm import laboratory as laboratory_module
from topout.gemm.case import Case
from topout.gemm.laboratory import Laboratory
from topout.gemm.rounds import Effort
from topout.gemm.sources import SourceError
from topout.machine.describe import describe
from topout.records import Machine
from topout.records.gemm import GemmShape
from topout.records.record import encode

CASE = Case(64, 48, 40, "fp32", 2, label="attention.qkv", calls=12)


@pytest.fixture(autouse=True)
def small_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling the memory that is read for the bandwidth would take longer than all the rest."""
    monkeypatch.setattr(laboratory_module, "_MOST_PROBED_BYTES", 4 << 20)


@functools.cache
def this_machine() -> Machine:
    return describe()


def open_laboratory(
    folder: Path, text: str | None, versions: list[str], threads: int = 2, rivals: bool = False
) -> Laboratory:
    own = None if text is None else write_source(folder, text)
    logs = folder / "logs"
    return Laboratory(versions, own, threads, logs, rivals=rivals, machine=this_machine())


def compare(
    folder: Path, text: str | None, versions: list[str], case: Case = CASE, rivals: bool = False
) -> GemmShape:
    with open_laboratory(folder, text, versions, case.threads, rivals) as laboratory:
        return laboratory.compare(case, quick=True)


def test_right_versions_are_measured(tmp_path: Path) -> None:
    shape = compare(tmp_path, RIGHT, ["loop_order", "naive"])
    naive, loop_order, own = shape.versions
    assert [naive.name, loop_order.name, own.name] == ["naive", "loop_order", "my_gemm.cpp"]
    assert all(each.status == "measured" and each.samples_s for each in shape.versions)
    assert all(each.flops_per_s and each.flops_per_s.median > 0 for each in shape.versions)
    assert all(0 < (each.error_of_bound or 0) <= 1 for each in shape.versions)
    assert all(0 < (each.of_ceiling or 0) < 1.5 for each in shape.versions)
    assert loop_order.over_previous == loop_order.over_naive
    assert loop_order.over_naive is not None and len(loop_order.over_naive.pairs) == 5
    assert naive.over_previous is None and own.over_previous is None
    assert own.over_naive is not None and own.over_best_rival is None
    assert (shape.label, shape.calls, shape.flops) == ("attention.qkv", 12, 2 * 64 * 48 * 40)
    assert shape.ceiling_flops_per_s and shape.read_bytes_per_s
    encode(shape)  # every figure is finite


def test_a_crash_loses_nothing_else(tmp_path: Path) -> None:
    shape = compare(tmp_path, WRONG["writes_behind"][0], ["naive"])
    assert [each.status for each in shape.versions] == ["measured", "failed"]


def test_an_int8_source_is_checked_exactly_and_skipped_for_others(tmp_path: Path) -> None:
    with open_laboratory(tmp_path, INT8, ["naive"]) as laboratory:
        (own,) = laboratory.compare(Case(64, 48, 40, "int8", 1), quick=True).versions
        naive, skipped = laboratory.compare(CASE, quick=True).versions
    assert (own.status, own.error_of_bound) == ("measured", 0.0)
    assert (naive.status, skipped.status) == ("measured", "skipped")
    assert skipped.reason == "it is written for int8"


def test_a_source_that_packs_is_timed_packed_ahead(tmp_path: Path) -> None:
    (own,) = compare(tmp_path, PACKING, []).versions
    assert own.status == "measured" and own.packed_ahead


def test_rivals_are_measured_or_say_why_not(tmp_path: Path) -> None:
    shape = compare(tmp_path, None, ["naive"], rivals=True)
    assert "pytorch" in [rival.name for rival in shape.rivals if rival.status == "measured"]
    assert all(rival.reason for rival in shape.rivals if rival.status != "measured")
    assert shape.versions[0].over_best_rival is not None


def test_nothing_to_compute_is_checked_and_not_timed(tmp_path: Path) -> None:
    with open_laboratory(tmp_path, None, ["naive"]) as laboratory:
        for size in ((0, 5, 3), (5, 0, 3), (5, 3, 0)):
            shape = laboratory.compare(Case(*size, "fp32", 1), quick=True)
            assert shape.versions[0].status == "skipped" and shape.bound == "overhead"
            assert "nothing to compute" in (shape.versions[0].reason or "")


def test_a_source_that_does_not_compile_carries_all_messages(tmp_path: Path) -> None:
    own = write_source(tmp_path, '#include "gemm.h"\nint x = ;\nint y = z;\n')
    with pytest.raises(SourceError) as caught, Laboratory([], own, 1, tmp_path / "logs"):
        pass
    assert "my_gemm.cpp does not compile: " in str(caught.value) and "2:9" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "3:9" in caught.value.messages


def test_a_source_without_the_function_is_refused(tmp_path: Path) -> None:
    own = write_source(tmp_path, "int nothing() { return 0; }\n")
    with pytest.raises(InputError, match="no function `gemm`"):
        Laboratory([], own, 1, tmp_path / "logs").__enter__()


def test_a_source_that_dies_while_it_is_loaded_fails(tmp_path: Path) -> None:
    text = RIGHT + "struct Trap { Trap() { std::abort(); } } trap;\n"
    shape = compare(tmp_path, text, ["naive"])
    assert [each.status for each in shape.versions] == ["measured", "failed"]
    assert "SIGABRT" in (shape.versions[1].reason or "")


def test_what_goes_wrong_in_the_rounds_alone_is_caught_too(tmp_path: Path) -> None:
    # Right for whole numbers, and so through all checks at the shape; wrong for real ones.
    text = RIGHT.replace("= sum;", "= (m == 64 && sum != Output(long(sum))) ? Output(1) : sum;")
    shape = compare(tmp_path, text, ["naive"])
    assert [each.status for each in shape.versions] == ["measured", "failed"]
    assert "are wrong, first C[0][0] = 1" in (shape.versions[1].reason or "")


def test_a_crash_in_the_rounds_fails_alone(tmp_path: Path) -> None:
    text = RIGHT.replace(
        "(void)threads;", "static int calls = 0; if (m == 64 && ++calls > 3) std::abort();"
    )
    shape = compare(tmp_path, text.replace("int threads)", "int)"), ["naive", "loop_order"])
    assert [each.status for each in shape.versions] == ["measured", "measured", "failed"]
    assert [len(each.samples_s) for each in shape.versions] == [5, 5, 0]
    assert "SIGABRT" in (shape.versions[2].reason or "")


def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    def interrupt(what: str, _share: float) -> None:
        if what.startswith("timing"):
            raise KeyboardInterrupt

    laboratory = open_laboratory(tmp_path, None, ["naive"])
    with pytest.raises(KeyboardInterrupt), laboratory:
        laboratory.compare(CASE, quick=True, notify=interrupt)
    assert not laboratory._worker.alive


def test_progress_reaches_from_0_to_1(tmp_path: Path) -> None:
    told: list[float] = []
    with open_laboratory(tmp_path, None, ["naive"]) as laboratory:
        laboratory.compare(CASE, quick=True, notify=lambda _what, share: told.append(share))
    assert told == sorted(told) and told[0] >= 0 and told[-1] <= 1


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        Laboratory(["nave"], None, 1, tmp_path)
    with pytest.raises(InputError):
        Laboratory(["naive"], None, 0, tmp_path)
    with open_laboratory(tmp_path, None, ["naive"], threads=1) as laboratory:
        for case in (
            Case(-1, 1, 1, "fp32", 1),
            Case(1, 1, 1, "fp32", 2),
            Case(2**40, 2**40, 1, "fp32", 1),
            Case(2**20, 2**20, 2**20, "fp32", 1),
        ):
            with pytest.raises(InputError):
                laboratory.compare(case, quick=True)


def test_without_a_compiler_versions_are_skipped_and_rivals_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "empty"))
    shape = compare(tmp_path, None, ["naive"], rivals=True)
    assert shape.versions[0].status == "skipped"
    assert "compile" in (shape.versions[0].reason or "")
    assert any(rival.status == "measured" for rival in shape.rivals)
    assert shape.ceiling_flops_per_s is None and "ceiling_flops_per_s" in shape.reasons


def test_what_takes_too_long_is_skipped_with_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Effort(rounds=1, sample_s=0.001, budget_s=0.01, longest_product_s=0.01)
    monkeypatch.setattr(laboratory_module, "QUICK", short)
    shape = compare(tmp_path, None, ["naive"], Case(512, 512, 512, "fp32", 1))
    assert shape.versions[0].status == "skipped"
    assert "are allowed" in (shape.versions[0].reason or "")
