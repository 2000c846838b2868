"""`compare_gemms` over a laboratory that answers at once: records, folders, interruptions."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pytest

from tests.gemm import example_report as example
from topout.errors import InputError
from topout.gemm.case import Case
from topout.gemm.request import GemmRequest
from topout.records import GemmExplanation, GemmReport, GemmShape, read
from topout.run_folder import Interrupted
from topout.verbs import compare_gemms as verb
from topout.verbs.compare_gemms import compare_gemms, failed_versions


class QuickLaboratory:
    """Answers with the example's figures; `refusal` says what happens at a case instead."""

    opened: list[int] = []  # noqa: RUF012
    refusal: Callable[[Case], BaseException | None] = staticmethod(lambda case: None)
    broken: bool = False

    def __init__(
        self, versions: list[str], source: Path | None, threads: int, folder: Path, rivals: bool
    ) -> None:
        self.threads = threads
        self.rivals = rivals
        QuickLaboratory.opened.append(threads)

    def __enter__(self) -> "QuickLaboratory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def compare(self, case: Case, *, quick: bool, notify: Any) -> GemmShape:
        assert case.threads == self.threads
        notify("timing", 0.5)
        if (raised := QuickLaboratory.refusal(case)) is not None:
            raise raised
        shape = example.shape(
            case.m,
            case.n,
            case.k,
            threads=case.threads,
            dtype=case.dtype,
            label=case.label,
            calls=case.calls,
            rivals=self.rivals,
        )
        if QuickLaboratory.broken:
            shape = msgspec.structs.replace(
                shape, versions=[*shape.versions, example.failed("mine.cpp", "wrong")]
            )
        return shape

    def library(self, name: str) -> Path | None:
        return None if name == "naive" else Path(f"{name}.so")


@pytest.fixture(autouse=True)
def quick_laboratory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verb, "Laboratory", QuickLaboratory)
    monkeypatch.setattr(verb, "load_or_measure_ceilings", lambda machine, quick: example.ceilings())
    monkeypatch.setattr(verb, "load_doubts", list)
    monkeypatch.setattr(verb, "describe", example.machine)
    monkeypatch.setattr(
        verb, "explain", lambda version, *_, **__: GemmExplanation(sentences=[f"{version}."])
    )
    monkeypatch.setattr(QuickLaboratory, "opened", [])
    monkeypatch.setattr(QuickLaboratory, "refusal", staticmethod(lambda case: None))
    monkeypatch.setattr(QuickLaboratory, "broken", False)
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)


def test_every_product_is_compared_and_written() -> None:
    told: list[float] = []
    request = GemmRequest(shapes=["8x8x8", "16x16x16"], threads=[2, 1])
    report, folder = compare_gemms(request, notify=lambda what, done: told.append(done))
    assert [(each.m, each.threads) for each in report.shapes] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert QuickLaboratory.opened == [1, 2]  # from few threads to many
    assert report.finished and report.thread_counts == [1, 2] and report.threads == 2
    assert report.shapes[1].versions[0].parallel_efficiency == pytest.approx(1.0)
    assert report.findings and report.elapsed_s > 0
    assert told == sorted(told) and max(told) <= 1
    assert read(folder.path / "run.json", GemmReport) == report
    assert folder.path.name.endswith("-gemm-8x8x8")
    assert failed_versions(report) == []


def test_a_model_gives_its_name_and_labels() -> None:
    report, folder = compare_gemms(GemmRequest(model="gpt2", prompt_len=4))
    assert report.model == "gpt2" and folder.path.name.endswith("-gemm-gpt2")
    assert [each.label for each in report.shapes][-1] == "head"
    assert "products of a pass of gpt2" in report.findings[-1]


def test_versions_that_were_measured_are_explained() -> None:
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"]))
    explained = {each.name: each.explanation for each in report.shapes[0].versions}
    assert explained["simd"] == GemmExplanation(sentences=["simd."])
    assert explained["naive"] is None  # it has no library here
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"], explain=False))
    assert all(each.explanation is None for each in report.shapes[0].versions)


def test_each_version_is_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: list[str] = []

    def explain(version: str, *_: Any, simulation: bool, **__: Any) -> GemmExplanation:
        simulated.extend([version] if simulation else [])
        return GemmExplanation()

    monkeypatch.setattr(verb, "explain", explain)
    compare_gemms(GemmRequest(shapes=["8x8x8", "9x9x9"], threads=[1, 2]))
    assert simulated and len(simulated) == len(set(simulated))
    simulated.clear()
    compare_gemms(GemmRequest(shapes=["8x8x8"], quick=True))
    assert simulated == []


def test_more_threads_than_cpus_is_a_doubt() -> None:
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"], threads=[1, 8]))
    assert any(
        doubt.about == "threads" and "8 threads share 2 CPUs" in doubt.sentence
        for doubt in report.doubts
    )
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"], threads=[2]))
    assert report.doubts == []
    assert "--threads 1" in report.reasons["parallel_efficiency"]


def test_openblas_with_kernels_of_the_users_choice_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"]))
    assert [doubt.about for doubt in report.doubts] == ["openblas"]
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8"], rivals=False))
    assert report.doubts == [] and "rivals" in report.reasons


def test_a_failed_version_is_a_result_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuickLaboratory, "broken", True)
    report, _ = compare_gemms(GemmRequest(shapes=["8x8x8", "9x9x9"]))
    assert failed_versions(report) == ["mine.cpp"]
    assert report.findings[0].startswith("mine.cpp failed at 8x8x8")


def test_an_interruption_keeps_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt = lambda case: KeyboardInterrupt() if case.m == 16 else None  # noqa: E731
    monkeypatch.setattr(QuickLaboratory, "refusal", staticmethod(interrupt))
    with pytest.raises(Interrupted) as interrupted:
        compare_gemms(GemmRequest(shapes=["8x8x8", "16x16x16"]))
    report = interrupted.value.record
    assert [each.m for each in report.shapes] == [8] and not report.finished
    assert read(interrupted.value.folder.path / "run.json", GemmReport).shapes == report.shapes


def test_an_interruption_before_anything_is_finished_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt = lambda case: KeyboardInterrupt()  # noqa: E731
    monkeypatch.setattr(QuickLaboratory, "refusal", staticmethod(interrupt))
    with pytest.raises(Interrupted) as interrupted:
        compare_gemms(GemmRequest(shapes=["8x8x8"]))
    assert interrupted.value.record is None and not interrupted.value.folder.path.exists()


def test_an_interrupted_explanation_loses_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(*_: Any, **__: Any) -> GemmExplanation:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "explain", explain)
    with pytest.raises(Interrupted) as interrupted:
        compare_gemms(GemmRequest(shapes=["8x8x8"]))
    assert len(interrupted.value.record.shapes) == 1


def test_a_product_that_is_refused_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse = lambda case: InputError("too large.") if case.m == 16 else None  # noqa: E731
    monkeypatch.setattr(QuickLaboratory, "refusal", staticmethod(refuse))
    report, _ = compare_gemms(GemmRequest(shapes=["16x16x16", "8x8x8"]))
    assert [each.m for each in report.shapes] == [8] and report.finished
    assert any("too large" in reason for reason in report.reasons.values())


def test_when_all_are_refused_the_first_refusal_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        QuickLaboratory, "refusal", staticmethod(lambda case: InputError(str(case)))
    )
    with pytest.raises(InputError, match="8x8x8"):
        compare_gemms(GemmRequest(shapes=["8x8x8", "9x9x9"]))
    assert list((tmp_path / "runs").iterdir()) == []


def test_bad_input_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        compare_gemms(GemmRequest(shapes=["8x8"]))
    assert not (tmp_path / "runs").exists()


def test_two_comparisons_in_one_second_have_two_folders() -> None:
    folders = [compare_gemms(GemmRequest(shapes=["8x8x8"]))[1].path for _ in range(2)]
    assert folders[0] != folders[1]
