"""The rates that predictions are made from: measured once per host, versions, threads, device."""

import contextlib
import hashlib
import importlib.metadata
from pathlib import Path

import msgspec

from topout.errors import OutputError, RecordError, UnsupportedError
from topout.kernels.cache import writable_cache_folder
from topout.measure.worker import Worker, WorkerFailure
from topout.models.load import ModelSource
from topout.records import Ceilings, Machine, Rates, WorkloadSummary, read, write
from topout.rungs.candidate import WORKER_MODULE, worker_environment

_TIMEOUT_S = 600.0


def load_or_measure_rates(
    machine: Machine,
    ceilings: Ceilings,
    workload: WorkloadSummary,
    source: ModelSource,
    log: Path,
    *,
    with_compile: bool,
    keep: bool = True,
    refresh: bool = False,
) -> Rates:
    """Cached rates of this machine, or fresh ones from a worker, which are then cached.

    `with_compile` measures compiled modes too, which takes most of the time. Fresh rates are
    cached only where `keep` says so: those of a busy machine serve for once.

    Raises UnsupportedError when the worker fails.
    """
    versions = _versions()
    with_compile = with_compile and (machine.compiler is not None or workload.device != "cpu")
    path = _path(machine, ceilings, workload, source, f"{versions} {with_compile}")
    if not refresh:
        with contextlib.suppress(RecordError):
            return read(path, Rates)
    environment = worker_environment(workload.threads)
    with Worker(WORKER_MODULE, log, environment=environment) as worker:
        try:
            reply = worker.call(
                "calibrate",
                _TIMEOUT_S,
                host_key=machine.host_key,
                versions=versions,
                device=workload.device,
                threads=workload.threads,
                config_json=source.config_json,
                architecture=source.config.architecture,
                ceilings=msgspec.to_builtins(ceilings),
                with_compile=with_compile,
            )
        except WorkerFailure as failure:
            raise UnsupportedError(
                f"PyTorch's rates could not be measured: the worker {failure.message}.",
                f"See {log}.",
            ) from None
    rates = msgspec.convert(reply, Rates)
    if keep:
        with contextlib.suppress(OutputError):
            write(rates, path)
    return rates


def _versions() -> str:
    packages = ("torch", "transformers", "topout")
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _path(
    machine: Machine,
    ceilings: Ceilings,
    workload: WorkloadSummary,
    source: ModelSource,
    versions: str,
) -> Path:
    """Efficiencies are relative to ceilings, so fresh ceilings ask for fresh rates."""
    parts = (
        machine.host_key,
        versions,
        ceilings.measured_at,
        workload.device,
        str(workload.threads),
        source.config.architecture,
        *(
            hashlib.sha256(Path(__file__).with_name(name).read_bytes()).hexdigest()
            for name in ("calibrate.py", "generate_gemv.py", "quantize_weights_int8.py")
        ),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return writable_cache_folder("rates") / f"{key}.json"
