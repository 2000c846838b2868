"""The rates that predictions are made from: measured once per host, versions, threads, device."""

import hashlib
import importlib.metadata
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from topout.errors import UnsupportedError
from topout.generation.session_process import worker_environment
from topout.kernels.build import SOURCE_FOLDER, included_files
from topout.machine.disturbance import doubts_between, take_snapshot
from topout.machine.figures import check_rates
from topout.machine.kept import Shelf, is_settled, tell_standing
from topout.measure.stats import load_doubts
from topout.measure.worker import Worker, WorkerFailure
from topout.models.known import known_config_json
from topout.records import Ceilings, Machine, Rates
from topout.roofline import ABOVE_A_CEILING

WORKER_MODULE = "topout.ladder.calibrate"
_TIMEOUT_S = 600.0


class RatesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What rates are wanted: how models of an architecture run on so many threads of a device.

    `config_json` is any config of the architecture, from which narrow models are made;
    `with_compile` measures compiled modes too, which takes most of the time; `with_native` our own
    kernels.
    """

    architecture: str
    config_json: dict[str, Any]
    device: str
    threads: int
    with_compile: bool
    with_native: bool = False

    @classmethod
    def like(cls, known_model: str, threads: int) -> "RatesRequest":
        """The rates of this machine's CPU, of the architecture of a known model."""
        config_json = known_config_json(known_model)
        return cls(
            architecture=config_json["model_type"],
            config_json=config_json,
            device="cpu",
            threads=threads,
            with_compile=True,
        )


def agreeing_rates(
    ceilings: Ceilings,
    before: Rates | None,
    measure: Callable[[Ceilings], Rates],
    ceilings_again: Callable[[], Ceilings],
) -> tuple[Ceilings, Rates]:
    """Rates, and the ceilings that they are of, measured again where fresh rates exceed them.

    No kernel is faster than the roofline: where one seems so again and again, the ceilings were
    measured when the machine was busier. `before` are the rates that were kept.
    """
    rates = measure(ceilings)
    exceeded = any(doubt.about == ABOVE_A_CEILING for doubt in rates.doubts)
    if rates == before or not exceeded:
        return ceilings, rates
    again = ceilings_again()
    return (ceilings, rates) if again == ceilings else (again, measure(again))


def cached_rates(machine: Machine, ceilings: Ceilings, request: RatesRequest) -> Rates | None:
    """The rates of this machine that stand, if they were measured before."""
    return next(iter(_kept(machine, ceilings, request)), None)


def load_or_measure_rates(
    machine: Machine,
    ceilings: Ceilings,
    request: RatesRequest,
    log: Path,
    *,
    timeout_s: float = _TIMEOUT_S,
    refresh: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Rates:
    """The rates of this machine that stand, by the rule of `topout.machine.kept`.

    They are measured by a worker if they never were, with `refresh`, or when only disturbed ones
    are kept and the machine is quiet now; and kept with their doubts. `tell` is told what is
    measured. Raises UnsupportedError when the worker fails or takes longer than `timeout_s`.
    """
    request = _possible(machine, request)
    kept = _kept(machine, ceilings, request)
    if not refresh and is_settled(kept):
        tell_standing(kept[0])
        return kept[0]
    fresh = _measure(machine, ceilings, request, log, timeout_s, tell)
    return keep_rates(fresh, machine, ceilings, request)


def _measure(
    machine: Machine,
    ceilings: Ceilings,
    request: RatesRequest,
    log: Path,
    timeout_s: float,
    tell: Callable[[str], None] | None,
) -> Rates:
    """Rates from a worker, with the doubts of what went on before, meanwhile and after."""
    cpus = list(range(machine.logical_cpus))
    load, before = load_doubts(), take_snapshot(cpus)
    environment = worker_environment(request.threads)
    with Worker(WORKER_MODULE, log, environment=environment) as worker:
        try:
            reply = worker.call(
                "calibrate",
                timeout_s,
                on_work=tell,
                host_key=machine.host_key,
                versions=_versions(),
                request=msgspec.to_builtins(request),
                ceilings=msgspec.to_builtins(ceilings),
            )
        except WorkerFailure as failure:
            more = " `topout climb --rung-timeout 3600` gives it more time."
            raise UnsupportedError(
                f"PyTorch's rates could not be measured: the worker {failure.message}.",
                f"See {log}.{more if failure.kind == 'hang' else ''}",
            ) from None
    # The worker and what it started are busy meanwhile, so other load is looked for around it.
    meanwhile = doubts_between(before, take_snapshot(cpus), len(cpus))
    doubts = [each for each in meanwhile if each.about != "load"]
    doubts += load or load_doubts()
    rates = msgspec.convert(reply, Rates)
    return msgspec.structs.replace(rates, doubts=[*rates.doubts, *doubts])


def keep_rates(rates: Rates, machine: Machine, ceilings: Ceilings, request: RatesRequest) -> Rates:
    """Keep rates where the next climb finds them; returns those that stand."""
    return _shelf(machine, ceilings, _possible(machine, request)).keep(rates)


def _kept(machine: Machine, ceilings: Ceilings, request: RatesRequest) -> list[Rates]:
    """All that are kept, the one that stands first; those with more hold for less."""
    request = _possible(machine, request)
    wider = _possible(machine, msgspec.structs.replace(request, with_native=True))
    own = _shelf(machine, ceilings, request)
    found = own.kept()
    if wider != request:
        found = own.standing([*found, *_shelf(machine, ceilings, wider).kept()])
    return found


def _possible(machine: Machine, request: RatesRequest) -> RatesRequest:
    """Without a compiler nothing is compiled for a CPU, and native kernels are for CPUs."""
    has_compiler, on_cpu = machine.compiler is not None, request.device == "cpu"
    return msgspec.structs.replace(
        request,
        with_compile=request.with_compile and (has_compiler or not on_cpu),
        with_native=request.with_native and has_compiler and on_cpu,
    )


def _versions() -> str:
    packages = ("torch", "transformers", "topout")
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _measured_sources() -> list[Path]:
    """The files whose change makes the rates those of other code."""
    names = (
        "ladder/calibrate.py",
        "ladder/kernel_rates.py",
        "quantization/native_layers.py",
        "rungs/generate_gemv.py",
        "rungs/quantize_weights_int8.py",
    )
    native = included_files(SOURCE_FOLDER / "linear.cpp")
    return [*(Path(__file__).parents[1] / name for name in names), *native]


def _shelf(machine: Machine, ceilings: Ceilings, request: RatesRequest) -> Shelf[Rates]:
    """Efficiencies are relative to ceilings, so other ceilings ask for other rates."""
    parts = (
        machine.host_key,
        f"{_versions()} {request.with_compile} {request.with_native}",
        ceilings.measured_at,
        request.device,
        str(request.threads),
        request.architecture,
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in _measured_sources()),
    )

    def accept(rates: Rates, source: str) -> Rates:
        check_rates(rates, ceilings, source)
        return rates

    return Shelf(
        part="rates",
        stem=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24],
        record_type=Rates,
        accept=accept,
        merit=lambda rates: sum(math.log(each.flops_per_s) for each in rates.linear),
    )
