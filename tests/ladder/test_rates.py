"""Rates are measured once for each machine, version and set of ceilings."""

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tests.cost.test_predict import CEILINGS, RATES
from tests.models.tiny import GPT2, GROUPED
from tests.report.example_climb import example_machine
from topout.errors import UnsupportedError
from topout.ladder import rates as rates_module
from topout.ladder.rates import (
    RatesRequest,
    agreeing_rates,
    cached_rates,
    keep_rates,
    load_or_measure_rates,
)
from topout.machine import kept
from topout.machine.disturbance import Snapshot
from topout.measure.worker import WorkerFailure
from topout.records import Ceilings, Compiler, Doubt, Rates
from topout.roofline import ABOVE_A_CEILING

MACHINE = msgspec.structs.replace(
    example_machine(), compiler=Compiler(path="/usr/bin/g++", version="12")
)


LOAD = Doubt(about="machine", sentence="Other programs use 45 %.", remedy="Close them.")
STEAL = Doubt(about="steal", sentence="Given to others.", remedy="Ask for CPUs.")


class FakeWorker:
    """Counts how often rates are measured."""

    calls: ClassVar[list[dict[str, Any]]] = []
    timeouts: ClassVar[list[float]] = []
    failure: ClassVar[WorkerFailure | None] = None
    rates: ClassVar[Rates] = RATES

    def __init__(self, module: str, log: Path, *, environment: dict[str, str]) -> None:
        assert module == "topout.ladder.calibrate"

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, timeout_s: float, **params: Any) -> Any:
        assert method == "calibrate"
        if self.failure is not None:
            raise self.failure
        self.calls.append(params)
        self.timeouts.append(timeout_s)
        rates = msgspec.structs.replace(
            self.rates,
            host_key=params["host_key"],
            measured_at=f"2026-02-01T00:00:{len(self.calls):02}+00:00",
        )
        return msgspec.to_builtins(rates)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rates_module, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "calls", [])
    monkeypatch.setattr(FakeWorker, "timeouts", [])
    for module in (rates_module, kept):  # the machine is quiet
        monkeypatch.setattr(module, "load_doubts", list)
    monkeypatch.setattr(rates_module, "doubts_between", quiet_but_for_steal)
    return FakeWorker


def quiet_but_for_steal(before: Snapshot, after: Snapshot, cpus: int) -> list[Doubt]:
    """The machine of the tests has other things to do."""
    return [STEAL] if after.stolen_s - before.stolen_s > 8 else []


def rates_of(tmp_path: Path, **changes: Any) -> Any:
    """Of a model, and what else a request holds."""
    parts = {
        "model": GPT2,
        "threads": 1,
        "device": "cpu",
        "with_compile": True,
        "with_native": False,
    }
    parts |= {key: changes.pop(key) for key in list(changes) if key in parts}
    model = parts.pop("model")
    request = RatesRequest(architecture=model["model_type"], config_json=model, **parts)
    options = {"machine": MACHINE, "ceilings": CEILINGS, "log": tmp_path / "rates.log"}
    return load_or_measure_rates(request=request, **(options | changes))


def test_they_are_measured_once(worker: type[FakeWorker], tmp_path: Path) -> None:
    first = rates_of(tmp_path)
    assert first == rates_of(tmp_path)
    assert first.linear == RATES.linear
    assert len(worker.calls) == 1
    assert worker.calls[0]["request"]["architecture"] == "gpt2"
    rates_of(tmp_path, refresh=True)
    assert len(worker.calls) == 2


def test_whatever_they_depend_on_asks_for_new_ones(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    others: list[dict[str, Any]] = [
        {},
        {"machine": msgspec.structs.replace(MACHINE, host_key="another")},
        {"ceilings": msgspec.structs.replace(CEILINGS, measured_at="2026-02-01T00:00:00+00:00")},
        {"threads": 2},
        {"model": GROUPED},
        {"with_compile": False},
    ]
    for changes in others:
        rates_of(tmp_path, **changes)
    assert len(worker.calls) == len(others)
    for changes in others:
        rates_of(tmp_path, **changes)
    assert len(worker.calls) == len(others)


def test_a_busy_machine_is_measured_once_and_again_when_it_is_quiet(
    worker: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates_module, "load_doubts", lambda: [LOAD])
    monkeypatch.setattr(kept, "load_doubts", lambda: [LOAD])
    disturbed = rates_of(tmp_path)
    assert disturbed.doubts == [LOAD]
    assert rates_of(tmp_path) == disturbed  # with its doubt
    assert len(worker.calls) == 1
    monkeypatch.setattr(rates_module, "load_doubts", list)
    monkeypatch.setattr(kept, "load_doubts", list)
    quiet = rates_of(tmp_path)
    assert quiet.doubts == []
    assert rates_of(tmp_path) == quiet
    assert len(worker.calls) == 2
    monkeypatch.setattr(rates_module, "load_doubts", lambda: [LOAD])
    assert rates_of(tmp_path, refresh=True) == quiet  # a busy machine replaces no better ones
    assert len(worker.calls) == 3


def test_what_the_worker_doubts_is_kept_beside_what_went_on(
    worker: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = iter([0.0, 9.0])
    monkeypatch.setattr(
        rates_module,
        "take_snapshot",
        lambda cpus: Snapshot(0.0, busy_s=0.0, stolen_s=next(stolen), own_s=0.0, swapped_pages=0),
    )
    too_fast = Doubt(about="above a ceiling", sentence="Too fast.", remedy="Again.")
    rates = msgspec.structs.replace(RATES, doubts=[too_fast])
    monkeypatch.setattr(worker, "rates", rates)
    assert [each.about for each in rates_of(tmp_path).doubts] == ["above a ceiling", "steal"]


@pytest.mark.parametrize(
    "wrong", [{"efficiency": 1.1}, {"flops_per_s": 4e16}, {"efficiency": -1.0}, {"rows": 0}]
)
def test_rates_that_cannot_be_are_refused(
    wrong: dict[str, Any], worker: type[FakeWorker], tmp_path: Path
) -> None:
    first = msgspec.structs.replace(RATES.linear[0], **wrong)
    request = RatesRequest.like("gpt2", 1)
    impossible = msgspec.structs.replace(RATES, linear=[first], host_key=MACHINE.host_key)
    keep_rates(impossible, MACHINE, CEILINGS, request)
    assert cached_rates(MACHINE, CEILINGS, request) is None
    load_or_measure_rates(MACHINE, CEILINGS, request, tmp_path / "rates.log")
    assert len(worker.calls) == 1
    assert cached_rates(MACHINE, CEILINGS, request) is not None


def test_rates_with_more_hold_for_less(worker: type[FakeWorker], tmp_path: Path) -> None:
    rates_of(tmp_path, with_native=True)
    rates_of(tmp_path)
    assert len(worker.calls) == 1


def test_the_worker_has_the_time_that_is_given(worker: type[FakeWorker], tmp_path: Path) -> None:
    rates_of(tmp_path)
    rates_of(tmp_path, refresh=True, timeout_s=7.0)
    assert worker.timeouts == [600.0, 7.0]


def test_a_damaged_file_is_measured_anew(worker: type[FakeWorker], tmp_path: Path) -> None:
    rates_of(tmp_path)
    (path,) = (tmp_path / "cache" / "rates").iterdir()
    path.write_text("{")
    assert rates_of(tmp_path).linear == RATES.linear
    assert len(worker.calls) == 2
    assert not path.exists()


def test_without_a_compiler_nothing_compiled_is_measured(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    machine = msgspec.structs.replace(MACHINE, compiler=None)
    rates_of(tmp_path, machine=machine)
    assert worker.calls[0]["request"]["with_compile"] is False
    # On a GPU the compiler of the CPU is not asked for.
    rates_of(tmp_path, machine=machine, device="cuda")
    assert worker.calls[1]["request"]["with_compile"] is True


def test_a_worker_that_fails_is_told_with_its_log(
    worker: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "failure", WorkerFailure("crash", "crashed with SIGSEGV"))
    with pytest.raises(UnsupportedError, match=r"worker crashed with SIGSEGV.*rates\.log"):
        rates_of(tmp_path)


def test_a_worker_that_takes_too_long_is_given_more_time(
    worker: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "failure", WorkerFailure("hang", "did not answer within 30 s"))
    with pytest.raises(UnsupportedError, match=r"within 30 s.*--rung-timeout 3600"):
        rates_of(tmp_path)


def test_cached_rates_are_none_until_they_are_measured(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    request = RatesRequest.like("gpt2", 1)
    assert cached_rates(MACHINE, CEILINGS, request) is None
    measured = load_or_measure_rates(MACHINE, CEILINGS, request, tmp_path / "rates.log")
    assert cached_rates(MACHINE, CEILINGS, request) == measured


def test_ceilings_that_fresh_rates_exceed_are_measured_again() -> None:
    """Once, and only where the rates are of now; the rates then are those of what stands."""
    exceeded = Doubt(about=ABOVE_A_CEILING, sentence="1 kernel seemed faster.", remedy="Again.")
    too_fast = msgspec.structs.replace(RATES, doubts=[exceeded])
    higher = msgspec.structs.replace(CEILINGS, measured_at="2026-11-29T17:00:00+00:00")
    asked: list[str] = []

    def agreed(
        rates: Rates, *, before: Rates | None = None, again: Ceilings = higher
    ) -> tuple[Ceilings, Rates]:
        asked.clear()

        def measure(against: Ceilings) -> Rates:
            asked.append("rates")
            return rates if against == CEILINGS else RATES

        def ceilings_again() -> Ceilings:
            asked.append("ceilings")
            return again

        return agreeing_rates(CEILINGS, before, measure, ceilings_again)

    assert agreed(too_fast) == (higher, RATES)
    assert asked == ["rates", "ceilings", "rates"]
    # What is kept with its doubt is taken as it is; so it is where the old ceilings still stand.
    assert agreed(too_fast, before=too_fast) == (CEILINGS, too_fast) and asked == ["rates"]
    assert agreed(too_fast, again=CEILINGS) == (CEILINGS, too_fast)
    assert asked == ["rates", "ceilings"]
    assert agreed(RATES) == (CEILINGS, RATES) and asked == ["rates"]
