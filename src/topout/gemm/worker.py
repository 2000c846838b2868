"""The child process in which products are checked and timed: `python -m topout.gemm.worker`."""

import math
import sys
from pathlib import Path
from typing import Any

import msgspec

from topout.gemm.case import Case
from topout.gemm.rivals import find_rival, rivals_of
from topout.gemm.timing import Checked, RoofProbe, Roofs, TimedProducts
from topout.gemm.trial import ShapeTrial, first_fault
from topout.gemm.worker_process import FaultWatch, NoteFiles
from topout.kernels.gemm_ops import GemmBuild, GemmLibrary
from topout.measure.counters import EventCounts
from topout.measure.worker import serve

_MOST_B_COPIES = 256
_MOST_B_BYTES = 512 << 20


class GemmWorker:
    """Holds loaded libraries and the matrices of one case, and answers what the parent asks."""

    def __init__(self) -> None:
        self._watch: FaultWatch | None = None
        self._libraries: dict[GemmBuild, GemmLibrary] = {}
        self._trial: ShapeTrial | None = None
        self._products: TimedProducts | None = None
        self._probe: RoofProbe | None = None
        self._probe_key: tuple[Any, ...] = ()

    def watch(self, params: dict[str, Any]) -> None:
        """Note products in these files from now on."""
        self._watch = FaultWatch(NoteFiles(Path(params["situation"]), Path(params["fault"])))

    def load(self, params: dict[str, Any]) -> dict[str, Any]:
        """Load a library, whose constructors run now."""
        return {"offers_packing": self._library(params["build"]).offers_packing}

    def check_basics(self, params: dict[str, Any]) -> dict[str, Any]:
        """All small products, between guard pages."""
        library = self._library(params["build"])
        return {"fault": first_fault(library, params["threads"], self._watching().note)}

    def check_shape(self, params: dict[str, Any]) -> dict[str, Any]:
        """The product of a case in whole numbers, between guard pages."""
        case = msgspec.convert(params["case"], Case)
        if self._trial is None or self._trial.case != case:
            self._end_trial()
            self._trial = ShapeTrial(case)
        library = self._library(params["build"])
        return self._trial.check(library, self._watching().note, params["longest_s"])._asdict()

    def begin_timing(self, params: dict[str, Any]) -> dict[str, Any]:
        """Make matrices to be timed with; what was checked before is given back."""
        self._end_trial()
        self._end_timing()
        case = msgspec.convert(params["case"], Case)
        probe = self._probe_of(case, params["working_set_bytes"])
        ridge_point = probe.ridge_point()
        is_memory_bound = case.arithmetic_intensity < ridge_point
        copies = _b_copies(case, params["cache_bytes"]) if is_memory_bound else 1
        self._products = TimedProducts(case, copies)
        return {"ridge_point": ridge_point, "b_copies": copies, "reasons": probe.reasons}

    def list_rivals(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Rivals of a data type, with the reason of each that cannot run here."""
        return [
            {
                "name": rival.name,
                "packed_ahead": rival.packed_ahead,
                "missing": rival.reason_missing(),
            }
            for rival in rivals_of(params["dtype"])
        ]

    def add_version(self, params: dict[str, Any]) -> Checked:
        """Make a version ready to be timed, and check it on random numbers."""
        library, products = self._library(params["build"]), self._timed()
        self._watching().note(str(products.case), {})
        return products.add_version(params["name"], library)

    def add_rival(self, params: dict[str, Any]) -> Checked:
        """Make a rival ready to be timed, and check it on random numbers."""
        products = self._timed()
        rival = find_rival(params["name"], products.case.dtype)
        self._watching().note(str(products.case), {})
        return products.add_rival(rival.name, rival)

    def sample(self, params: dict[str, Any]) -> float:
        """Seconds of one product of a candidate."""
        return self._timed().sample(params["name"], params["repeats"], params["warm_up"])

    def check_again(self, params: dict[str, Any]) -> Checked:
        """Check one more product of a candidate."""
        return self._timed().check_again(params["name"])

    def roofs(self, _: dict[str, Any]) -> Roofs:
        """The ceilings of this moment."""
        assert self._probe is not None, "begin_timing comes first"
        return self._probe.measure()

    def count_events(self, params: dict[str, Any]) -> EventCounts:
        """Hardware events of one product of a version, and the reasons of those not counted."""
        with TimedProducts(msgspec.convert(params["case"], Case), b_copies=1) as products:
            return products.count(self._library(params["build"]))

    def end_timing(self, _: dict[str, Any]) -> None:
        """Give the matrices back."""
        self._end_timing()

    def _library(self, built: Any) -> GemmLibrary:
        path, dtype, openmp = built
        build = GemmBuild(Path(path), dtype, openmp)
        if build not in self._libraries:
            self._libraries[build] = GemmLibrary(build)
        return self._libraries[build]

    def _probe_of(self, case: Case, working_set_bytes: int) -> RoofProbe:
        key = (case.threads, case.dtype, working_set_bytes)
        if self._probe is None or key != self._probe_key:
            if self._probe is not None:
                self._probe.close()
            self._probe = RoofProbe(case.threads, working_set_bytes, case.dtype)
            self._probe_key = key
        return self._probe

    def _watching(self) -> FaultWatch:
        assert self._watch is not None, "watch comes first"
        return self._watch

    def _timed(self) -> TimedProducts:
        assert self._products is not None, "begin_timing comes first"
        return self._products

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _end_timing(self) -> None:
        if self._products is not None:
            self._products.close()
            self._products = None


def _b_copies(case: Case, cache_bytes: int) -> int:
    """So many matrices B that the caches do not hold them all; one where they must hold it."""
    wanted = 2 * cache_bytes
    copies = max(1, math.ceil(wanted / max(1, case.b_bytes)))
    within_bounds = copies <= _MOST_B_COPIES and copies * case.b_bytes <= _MOST_B_BYTES
    return copies if within_bounds else 1


def main() -> None:
    """Serve the parent until it closes its pipe."""
    worker = GemmWorker()
    names = [name for name in vars(GemmWorker) if not name.startswith("_")]
    serve({name: getattr(worker, name) for name in names}, sys.argv[1:])


if __name__ == "__main__":
    main()
