"""The laboratory: versions and rivals of a matrix product, checked and then timed in turns."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from topout.errors import CompilerError, InputError, TopoutError, UnsupportedError
from topout.gemm.case import VERSIONS, Case, check_case, find_version
from topout.gemm.results import Outcome, shape_of
from topout.gemm.rounds import FULL, QUICK, Contestant, Rounds, list_rivals
from topout.gemm.sources import build_own
from topout.gemm.worker_process import Checking, ProductWorker
from topout.kernels.gemm_ops import GemmBuild, build_gemm, version_source
from topout.machine.describe import describe
from topout.machine.effort import cache_capacities, working_sets
from topout.machine.topology import SystemFiles, read_limits
from topout.measure.process import Closing
from topout.measure.worker import WorkerFailure
from topout.progress import Notify, silent
from topout.records import Machine
from topout.records.gemm import GemmDtype, GemmShape

_MOST_PROBED_BYTES = 256 << 20
_CHECKING_SHARE = 0.4  # of the progress bar
_EMPTY = "there is nothing to compute: m, n or k is 0 (the result is right)"


class Laboratory(Closing):
    """Compares versions, a user's own file and rivals, one case after the other.

    `folder` takes the logs of the workers; `machine` is this one where it was described already;
    `timeout_s` is what the checks of small products may take before a version counts as hung. Use
    it in a `with` block. Raises UnknownNameError for a version, InputError for a bad source or
    count of threads, SourceError (with all messages) for one that does not compile.
    """

    def __init__(
        self,
        versions: Sequence[str],
        own_source: Path | None,
        threads: int,
        folder: Path,
        rivals: bool = True,
        *,
        machine: Machine | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        if threads < 1:
            raise InputError(f"{threads} threads.", "Ask for one thread or more.")
        asked = {find_version(name) for name in versions}
        self._versions = [version for version in VERSIONS if version in asked]
        self._own_source = own_source
        self._threads = threads
        self._folder = folder
        self._rivals = rivals
        self._machine = machine
        self._timeout_s = timeout_s
        self._builds: dict[str, GemmBuild | TopoutError] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        own = None if self._own_source is None else build_own(self._own_source)
        self._own = own
        self._machine = self._machine or describe()
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            threads = self._threads
            self._worker = stack.enter_context(ProductWorker("versions", self._folder, threads))
            self._own_worker = stack.enter_context(ProductWorker("own", self._folder, threads))
            self._checking = Checking(self._worker, self._timeout_s)
            # What a user's own file does before it has passed all checks, it does to itself alone.
            self._own_checking = Checking(self._own_worker, self._timeout_s)
            if own is not None:
                self._load_own(own)
            self._held = stack.pop_all()
        return self

    def close(self) -> None:
        """End the workers."""
        self._held.close()

    def compare(self, case: Case, *, quick: bool, notify: Notify = silent) -> GemmShape:
        """Check everyone at one case, then time those that are right, in turns.

        One that crashes, hangs or is wrong fails alone, with the reason. Raises
        InputError for a case that cannot be computed here.
        """
        self._check_case(case)
        effort = QUICK if quick else FULL
        contestants = self._contestants(case, notify)
        for i, each in enumerate(contestants):
            notify(f"checking {each.outcome.name}", _CHECKING_SHARE * i / len(contestants))
            self._check(each, case, effort.longest_product_s)
        if self._own_worker.alive:
            self._own_worker.close()  # and so its memory is free
        rounds = Rounds(
            self._worker, case, effort, self._working_set_bytes(case), self._cache_bytes(case)
        )
        if case.is_empty:
            for each in contestants:
                if each.outcome.status == "measured":
                    each.outcome.skip(_EMPTY)
        else:
            contestants += self._list_rivals(case, rounds)
            rounds.run(contestants, lambda what, share: notify(what, _share_of_all(share)))
        outcomes = [each.outcome for each in contestants]
        return shape_of(case, outcomes, rounds.roofs, rounds.ridge_point, rounds.reasons)

    def library(self, name: str) -> Path | None:
        """The compiled library of a version, or of the own file by its name, once it is built."""
        if self._own is not None and self._own_source and name == self._own_source.name:
            return self._own.path
        built = self._builds.get(name)
        return built.path if isinstance(built, GemmBuild) else None

    def _load_own(self, own: GemmBuild) -> None:
        """A library without `gemm` is the user's mistake; one that crashes fails when checked."""
        try:
            self._own_worker.call("load", self._timeout_s, build=own)
        except WorkerFailure as failure:
            if failure.kind == "input":
                raise InputError(
                    f"{self._own_source} cannot be loaded: {failure.message}",
                    "See what `topout gemm init` writes.",
                ) from None

    def _check_case(self, case: Case) -> None:
        import psutil

        limit = read_limits(SystemFiles(Path("/"))).memory_bytes
        available = int(psutil.virtual_memory().available)
        check_case(
            case,
            processes=1 if self._own is None else 2,
            rivals=self._rivals,
            available_bytes=available if limit is None else min(available, limit),
        )
        if case.threads > self._threads:
            raise InputError(
                f"{case.threads} threads in a laboratory of {self._threads}.",
                "Open it with as many as the largest case has.",
            )

    def _contestants(self, case: Case, notify: Notify) -> list[Contestant]:
        """The versions of the case's data type and the own file, compiled."""
        found = []
        for version in self._versions:
            if version.dtype == case.dtype:
                notify(f"compiling {version.name}", 0.0)
                found.append(Contestant(Outcome(version.name), self._build(version.name)))
        if self._own_source is not None:
            found.append(self._own_contestant(case.dtype))
        for each in found:
            if isinstance(each.build, TopoutError):
                each.outcome.skip(str(each.build))
        return found

    def _own_contestant(self, dtype: GemmDtype) -> Contestant:
        assert self._own_source is not None and self._own is not None
        contestant = Contestant(Outcome(self._own_source.name), self._own, is_own=True)
        if self._own.dtype != dtype:
            contestant.outcome.skip(f"it is written for {self._own.dtype}")
        return contestant

    def _build(self, name: str) -> GemmBuild | TopoutError:
        if name not in self._builds:
            try:
                self._builds[name] = build_gemm(
                    version_source(name), find_version(name).dtype, name
                )
            except (CompilerError, UnsupportedError) as error:
                self._builds[name] = error
        return self._builds[name]

    def _list_rivals(self, case: Case, rounds: Rounds) -> list[Contestant]:
        if not self._rivals:
            return []
        try:
            return list_rivals(self._worker, case)
        except WorkerFailure as failure:
            rounds.reasons["rivals"] = failure.message
            return []

    def _check(self, contestant: Contestant, case: Case, longest_s: float) -> None:
        if contestant.outcome.status == "measured" and isinstance(contestant.build, GemmBuild):
            checking = self._own_checking if contestant.is_own else self._checking
            checking.check(contestant.outcome, contestant.build, case, longest_s)

    def _working_set_bytes(self, case: Case) -> int:
        machine = self._described()
        largest = working_sets(machine.caches, machine.memory_bytes, case.threads, 0)[-1]
        return min(largest.total_bytes, _MOST_PROBED_BYTES)

    def _cache_bytes(self, case: Case) -> int:
        return cache_capacities(self._described().caches, case.threads)[-1][1]

    def _described(self) -> Machine:
        assert self._machine is not None, "the laboratory is not open"
        return self._machine


def _share_of_all(share: float) -> float:
    """The progress of a comparison when so much of its timing is done."""
    return _CHECKING_SHARE + (1 - _CHECKING_SHARE) * share
