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
from topout.ladder.rates import RatesRequest, cached_rates, load_or_measure_rates
from topout.measure.worker import WorkerFailure
from topout.records import Compiler

MACHINE = msgspec.structs.replace(
    example_machine(), compiler=Compiler(path="/usr/bin/g++", version="12")
)


class FakeWorker:
    """Counts how often rates are measured."""

    calls: ClassVar[list[dict[str, Any]]] = []
    failure: ClassVar[WorkerFailure | None] = None

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
        return msgspec.to_builtins(RATES)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rates_module, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "calls", [])
    return FakeWorker


def rates_of(tmp_path: Path, **changes: Any) -> Any:
    """Of a model, and what else a request holds."""
    parts = {"model": GPT2, "threads": 1, "device": "cpu", "with_compile": True}
    parts |= {key: changes.pop(key) for key in list(changes) if key in parts}
    model = parts.pop("model")
    request = RatesRequest(architecture=model["model_type"], config_json=model, **parts)
    options = {"machine": MACHINE, "ceilings": CEILINGS, "log": tmp_path / "rates.log"}
    return load_or_measure_rates(request=request, **(options | changes))


def test_they_are_measured_once(worker: type[FakeWorker], tmp_path: Path) -> None:
    assert rates_of(tmp_path) == rates_of(tmp_path) == RATES
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


def test_rates_of_a_busy_machine_serve_for_once(worker: type[FakeWorker], tmp_path: Path) -> None:
    rates_of(tmp_path, keep=False)
    rates_of(tmp_path)
    assert len(worker.calls) == 2


def test_a_damaged_file_is_measured_anew(worker: type[FakeWorker], tmp_path: Path) -> None:
    rates_of(tmp_path)
    (path,) = (tmp_path / "cache" / "rates").iterdir()
    path.write_text("{")
    assert rates_of(tmp_path) == RATES
    assert len(worker.calls) == 2


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


def test_cached_rates_are_none_until_they_are_measured(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    request = RatesRequest.like("gpt2", 1)
    assert cached_rates(MACHINE, CEILINGS, request) is None
    measured = load_or_measure_rates(MACHINE, CEILINGS, request, tmp_path / "rates.log")
    assert cached_rates(MACHINE, CEILINGS, request) == measured
