"""`topout gemm`: versions of a matrix product and their rivals, checked, timed and explained."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from topout.errors import CompilerError, TopoutError
from topout.gemm.explain import explain
from topout.gemm.findings import ceiling_doubts, findings_of
from topout.gemm.laboratory import Laboratory
from topout.gemm.request import GemmRequest, Shape
from topout.gemm.results import with_parallel_efficiency
from topout.gemm.rivals import CORETYPE_VARIABLE
from topout.gemm.sources import build_own
from topout.gemm.worker_process import worker_environment
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe
from topout.machine.kept import kept_doubts
from topout.measure.stats import load_doubts
from topout.progress import Notify, silent
from topout.records import Doubt, GemmReport, GemmResult, GemmShape, Machine
from topout.records.gemm import GemmDtype
from topout.records.record import stamp
from topout.roofline import ABOVE_A_CEILING
from topout.run_folder import Interrupted, RunFolder
from topout.units import counted


class _Comparison(msgspec.Struct, frozen=True):
    """What is compared, checked and resolved, before anything is measured."""

    request: GemmRequest
    machine: Machine
    model: str | None
    shapes: list[Shape]
    dtypes: list[GemmDtype]
    dtype_origin: str  # why it is that one, where a model decides; else empty
    threads: list[int]

    @property
    def parts(self) -> int:
        """Products to compare: each shape, data type and thread count is one."""
        return len(self.shapes) * len(self.dtypes) * len(self.threads)


def compare_gemms(request: GemmRequest, *, notify: Notify = silent) -> tuple[GemmReport, RunFolder]:
    """Check, time and explain versions and rivals; returns the record and its folder.

    The record is written after each product. Raises a TopoutError for bad input before anything is
    measured, SourceError (with the compiler's messages) for a source that does not compile, and
    Interrupted on Ctrl-C. A version that fails its check is a result with the status "failed".
    """
    begun = time.monotonic()
    comparison = _resolve(request)
    with RunFolder.create("gemm", comparison.model or str(comparison.shapes[0])) as folder:
        session = _Session(comparison, folder, notify, begun)
        try:
            session.run()
        except KeyboardInterrupt:
            finished = session.report if session.report.shapes else None
            raise Interrupted(finished, folder) from None
    return session.report, folder


def failed_versions(report: GemmReport) -> list[str]:
    """Names of versions, or of the user's own file, that failed their check somewhere."""
    found = [
        each.name for shape in report.shapes for each in shape.versions if each.status == "failed"
    ]
    return list(dict.fromkeys(found))


def _resolve(request: GemmRequest) -> _Comparison:
    """Everything that can be wrong with a request shows here."""
    request.check()
    machine = describe()
    threads = request.chosen_threads(machine.usable_cpus)
    model, shapes = request.chosen_shapes()
    precision = request.precision_for(machine)
    dtype, origin = precision or ("fp32", "")
    dtypes = request.chosen_dtypes(cast(GemmDtype, dtype))
    return _Comparison(request, machine, model, shapes, dtypes, origin, threads)


class _Session:
    """One comparison on its way, with the record so far in `report`."""

    def __init__(
        self, comparison: _Comparison, folder: RunFolder, notify: Notify, begun: float
    ) -> None:
        self._comparison = comparison
        self._folder = folder
        self._notify = notify
        self._begun = begun
        self._simulated: set[str] = set()
        self._refused: list[TopoutError] = []
        self._done = 0
        request = comparison.request
        self.report = GemmReport(
            **stamp(),
            machine=comparison.machine,
            threads=max(comparison.threads),
            thread_counts=comparison.threads,
            model=comparison.model,
            dtype_origin=comparison.dtype_origin,
            source=request.source,
            doubts=_standing_doubts(comparison),
            reasons=_reasons(comparison),
            finished=False,
        )

    def run(self) -> None:
        """All products, from few threads to many; raises the first refusal if none was possible."""
        if self._comparison.request.source is not None:
            build_own(Path(self._comparison.request.source))  # may be refused: before all else
        self._notify("measure the machine's ceilings", 0.0)
        load = load_doubts()
        ceilings = load_or_measure_ceilings(self._comparison.machine, quick=True)
        disturbances = kept_doubts(ceilings)
        self._extend(doubts=[*self.report.doubts, *load, *disturbances], ceilings=ceilings)
        for threads in self._comparison.threads:
            with self._laboratory(threads) as laboratory:
                for shape, dtype in self._products():
                    self._compare(laboratory, shape, dtype, threads)
        if self._refused and not self.report.shapes:
            raise self._refused[0]
        self._extend(finished=True)
        self._save()

    def _laboratory(self, threads: int) -> Laboratory:
        request = self._comparison.request
        source = Path(request.source) if request.source is not None else None
        logs = self._folder.logs / f"{threads}-threads"
        versions = request.chosen_versions(self._comparison.dtypes)
        return Laboratory(versions, source, threads, logs, rivals=request.rivals)

    def _products(self) -> Iterator[tuple[Shape, GemmDtype]]:
        for shape in self._comparison.shapes:
            for dtype in self._comparison.dtypes:
                yield shape, dtype

    def _compare(
        self, laboratory: Laboratory, shape: Shape, dtype: GemmDtype, threads: int
    ) -> None:
        case = shape.case(dtype, threads)
        parts, done = self._comparison.parts, self._done
        self._done += 1
        words = f"{shape} {dtype}, {counted(threads, 'thread')}"

        def tell(what: str, share: float) -> None:
            self._notify(f"{words}: {what}", (done + share) / parts)

        quick = self._comparison.request.quick
        try:
            measured = laboratory.compare(case, quick=quick, notify=tell)
        except CompilerError:
            raise
        except TopoutError as error:
            self._refused.append(error)
            self._extend(reasons={**self.report.reasons, words: str(error)})
            return
        if self._comparison.request.explain:
            self._add(measured)  # an explanation that is interrupted loses no figure
            measured = self._explained(laboratory, measured, shape)
        self._add(measured)

    def _explained(self, laboratory: Laboratory, measured: GemmShape, shape: Shape) -> GemmShape:
        """The same with explanations of what was measured; each version is simulated once."""
        case = shape.case(measured.dtype, measured.threads)
        request = self._comparison.request
        versions = []
        for result in measured.versions:
            library = laboratory.library(result.name)
            if result.flops_per_s is None or library is None:
                versions.append(result)
                continue
            self._notify(f"{shape}: explain {result.name}", self._done / self._comparison.parts)
            # The simulation is of a small product and one thread, whatever the shape.
            simulation = not request.quick and result.name not in self._simulated
            self._simulated.add(result.name)
            explanation = explain(
                result.name,
                library,
                case,
                self._comparison.machine,
                packed_ahead=result.packed_ahead,
                source=self._source_of(result),
                ceilings=self.report.ceilings,
                measured_s=case.flops / result.flops_per_s.median,
                simulation=simulation,
            )
            versions.append(msgspec.structs.replace(result, explanation=explanation))
        return msgspec.structs.replace(measured, versions=versions)

    def _source_of(self, result: GemmResult) -> Path | None:
        source = self._comparison.request.source
        return Path(source) if source is not None and Path(source).name == result.name else None

    def _add(self, measured: GemmShape) -> None:
        """Put a product in its place, in the order asked for, in place of an earlier one of it."""
        order = [str(shape) for shape in self._comparison.shapes]
        dtypes, threads = self._comparison.dtypes, self._comparison.threads

        def place(each: GemmShape) -> tuple[int, int, int]:
            at = order.index(f"{each.m}x{each.n}x{each.k}")
            return at, dtypes.index(each.dtype), threads.index(each.threads)

        others = [each for each in self.report.shapes if place(each) != place(measured)]
        shapes = with_parallel_efficiency(sorted([*others, measured], key=place))
        self._extend(shapes=shapes)
        self._save()

    def _extend(self, **changes: object) -> None:
        elapsed_s = time.monotonic() - self._begun
        report = msgspec.structs.replace(self.report, elapsed_s=elapsed_s, **changes)
        standing = [each for each in report.doubts if each.about != ABOVE_A_CEILING]
        self.report = msgspec.structs.replace(
            report, findings=findings_of(report), doubts=[*standing, *ceiling_doubts(report)]
        )

    def _save(self) -> None:
        self._folder.save(self.report)


def _standing_doubts(comparison: _Comparison) -> list[Doubt]:
    """What can be doubted before anything is measured."""
    doubts = []
    usable, most = comparison.machine.usable_cpus, max(comparison.threads)
    if most > usable:
        doubts.append(
            Doubt(
                about="threads",
                sentence=f"{most} threads share {counted(usable, 'CPU')}: they "
                "take turns, and wait for each other.",
                remedy=f"Give --threads of at most {usable}.",
            )
        )
    coretype = os.environ.get(CORETYPE_VARIABLE)
    if comparison.request.rivals and coretype is not None:
        doubts.append(
            Doubt(
                about="openblas",
                sentence=f"{CORETYPE_VARIABLE}={coretype} is set: OpenBLAS runs the kernels of "
                "that processor, which may not be its best here.",
                remedy=f"Unset {CORETYPE_VARIABLE}.",
            )
        )
    return doubts


def _reasons(comparison: _Comparison) -> dict[str, str]:
    reasons = {}
    if 1 not in comparison.threads:
        reasons["parallel_efficiency"] = "it needs one thread as well: --threads 1,…"
    coretype = worker_environment(1).get(CORETYPE_VARIABLE)
    if comparison.request.rivals and coretype is not None:
        reasons["openblas"] = (
            f"its AVX-512 kernels were asked for with {CORETYPE_VARIABLE}={coretype}, since it "
            "may know fewer processors than there are"
        )
    if not comparison.request.rivals:
        reasons["rivals"] = "they were not asked for"
    return reasons
