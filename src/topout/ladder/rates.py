"""The rates that predictions are made from: measured once per host, versions, threads, device."""

import contextlib
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import msgspec

from topout.errors import OutputError, RecordError, UnsupportedError
from topout.generation.session_process import worker_environment
from topout.kernels.build import SOURCE_FOLDER, included_files, writable_cache_folder
from topout.measure.worker import Worker, WorkerFailure
from topout.models.known import known_config_json
from topout.records import Ceilings, Machine, Rates, read, write

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


def cached_rates(machine: Machine, ceilings: Ceilings, request: RatesRequest) -> Rates | None:
    """The rates of this machine, if they were measured before; those with more hold for less."""
    wider = msgspec.structs.replace(request, with_native=True)
    for each in (request, wider):
        with contextlib.suppress(RecordError):
            return read(_path(machine, ceilings, each), Rates)
    return None


def load_or_measure_rates(
    machine: Machine,
    ceilings: Ceilings,
    request: RatesRequest,
    log: Path,
    *,
    keep: bool = True,
    refresh: bool = False,
) -> Rates:
    """Cached rates of this machine, or fresh ones from a worker, which are then cached.

    Fresh rates are cached only where `keep` says so: those of a busy machine serve for once.

    Raises UnsupportedError when the worker fails.
    """
    request = _possible(machine, request)
    if not refresh and (cached := cached_rates(machine, ceilings, request)) is not None:
        return cached
    environment = worker_environment(request.threads)
    with Worker(WORKER_MODULE, log, environment=environment) as worker:
        try:
            reply = worker.call(
                "calibrate",
                _TIMEOUT_S,
                host_key=machine.host_key,
                versions=_versions(),
                request=msgspec.to_builtins(request),
                ceilings=msgspec.to_builtins(ceilings),
            )
        except WorkerFailure as failure:
            raise UnsupportedError(
                f"PyTorch's rates could not be measured: the worker {failure.message}.",
                f"See {log}.",
            ) from None
    rates = msgspec.convert(reply, Rates)
    if keep:
        keep_rates(rates, machine, ceilings, request)
    return rates


def keep_rates(rates: Rates, machine: Machine, ceilings: Ceilings, request: RatesRequest) -> None:
    """Put rates where the next climb finds them; a cache that refuses costs a measurement."""
    with contextlib.suppress(OutputError):
        write(rates, _path(machine, ceilings, request))


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


def _path(machine: Machine, ceilings: Ceilings, request: RatesRequest) -> Path:
    """Efficiencies are relative to ceilings, so fresh ceilings ask for fresh rates."""
    request = _possible(machine, request)
    parts = (
        machine.host_key,
        f"{_versions()} {request.with_compile} {request.with_native}",
        ceilings.measured_at,
        request.device,
        str(request.threads),
        request.architecture,
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in _measured_sources()),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return writable_cache_folder("rates") / f"{key}.json"
