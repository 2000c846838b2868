"""The CUDA ceilings as far as a machine without CUDA can tell."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import msgspec
import pytest

from topout.errors import UnsupportedError
from topout.machine.ceilings import load_or_measure_ceilings
from topout.machine.describe import describe, read_gpus
from topout.machine.effort import Meter
from topout.machine.torch_ceilings import (
    _doubts_of_spread,
    _measure_launch,
    _measure_matmuls,
    _measure_reads,
    matmul_size,
    measure_cuda_ceilings,
    read_sizes,
)
from topout.records import BandwidthCeiling, ComputeCeiling, Dtype, Gpu, OverheadCeiling

GIB = 1 << 30


def test_matrices_fit_in_memory() -> None:
    assert matmul_size(80 * GIB) == 8192
    # 8192² × 16 bytes is 1 GiB, and a quarter of 2 GiB is less.
    assert matmul_size(2 * GIB) == 4096
    assert matmul_size(0) == 256


def test_read_sizes() -> None:
    assert read_sizes(80 * GIB, 50 << 20) == [("L2", 25 << 20), ("HBM", 4 * GIB)]
    assert read_sizes(8 * GIB, 0) == [("HBM", GIB)]


def test_a_spread_is_doubted() -> None:
    wide = ComputeCeiling(
        dtype="bf16", threads=1, instruction="cuda matmul", flops_per_s=2.0, samples=[2.0, 1.0, 1.0]
    )
    (doubt,) = _doubts_of_spread([wide], [])
    assert "bf16" in doubt.sentence


def test_without_a_device_the_error_says_so() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        measure_cuda_ceilings(describe())
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        load_or_measure_ceilings(describe(), device="cuda")


class FakeCuda:
    """A device on which everything between two events takes one millisecond."""

    def __init__(self, cache_bytes: int) -> None:
        self.replays = 0
        self.properties = SimpleNamespace(L2_cache_size=cache_bytes)

    def torch(self) -> SimpleNamespace:
        """As much of torch as the measurements use, on tensors of the CPU."""
        event = SimpleNamespace(
            record=lambda: None, synchronize=lambda: None, elapsed_time=lambda end: 1.0
        )
        stream = SimpleNamespace(wait_stream=lambda other: None)
        cuda = SimpleNamespace(
            Event=lambda enable_timing: event,
            Stream=lambda: stream,
            CUDAGraph=lambda: SimpleNamespace(replay=self.count_replay),
            current_stream=lambda: stream,
            stream=lambda side: nullcontext(),
            graph=lambda graph: nullcontext(),
            synchronize=lambda: None,
            mem_get_info=lambda: (64 << 20, 64 << 20),
            get_device_properties=lambda index: self.properties,
        )
        real = pytest.importorskip("torch")
        return SimpleNamespace(
            cuda=cuda,
            backends=SimpleNamespace(
                cuda=SimpleNamespace(matmul=SimpleNamespace(fp32_precision="tf32"))
            ),
            randn=lambda size, device: real.randn(size),
            ones=lambda size, device: real.ones(size),
        )

    def count_replay(self) -> None:
        self.replays += 1


def test_rates_follow_from_bytes_and_event_times() -> None:
    fake = FakeCuda(cache_bytes=4 << 20)
    cached, memory = _measure_reads(fake.torch(), 3, Meter(2, None))
    assert (cached.level, cached.working_set_bytes) == ("L2", 2 << 20)
    # 64 sums or copies of 2 MiB in one millisecond
    assert cached.bytes_per_s == pytest.approx(64 * (2 << 20) / 1e-3)
    # An eighth of 64 MiB, four times
    assert (memory.level, memory.working_set_bytes) == ("HBM", 8 << 20)
    assert memory.bytes_per_s == pytest.approx(4 * (8 << 20) / 1e-3)
    assert len(memory.samples) == 3
    assert fake.replays == 2 * 2 * (3 + 1)


def test_matmuls_run_in_true_fp32_and_gaps_have_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = FakeCuda(0).torch()
    seen: list[str] = []

    def matmul_of(dtype: Dtype, size: int, device: str) -> Callable[[], None]:
        assert (size, device) == (1024, "cuda")  # 1024² × 16 bytes: a quarter of 64 MiB
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        if dtype == "int8":
            raise RuntimeError("not supported")
        return lambda: None

    monkeypatch.setattr("topout.machine.torch_ceilings.matmul_of", matmul_of)
    reasons: dict[str, str] = {}
    found = _measure_matmuls(torch, 2, reasons, Meter(4, None))
    assert [each.dtype for each in found] == ["fp32", "bf16", "fp16"]
    # Eight multiplications in one millisecond
    assert found[0].flops_per_s == pytest.approx(2 * 1024**3 / (1e-3 / 8))
    assert "not supported" in reasons["compute.int8"]
    assert seen == ["ieee"] * 4
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_launches_are_counted() -> None:
    launch = _measure_launch(FakeCuda(0).torch(), 2)
    assert launch.name == "cuda_launch"
    assert len(launch.samples) == 2
    assert 0 < launch.time_s <= min(launch.samples)


def test_on_a_device() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    shares: list[float] = []
    found = measure_cuda_ceilings(describe(), True, lambda what, share: shares.append(share))
    assert found.device == "cuda"
    assert {each.dtype for each in found.compute} >= {"fp32", "fp16"}
    assert all(each.flops_per_s > 1e10 for each in found.compute)
    assert found.bandwidth[-1].level == "HBM"
    assert found.bandwidth[-1].bytes_per_s > 1e10
    assert found.overheads[0].name == "cuda_launch"
    assert max(shares) <= 1


def test_a_driver_that_describes_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    class Memory:
        total = 80 * GIB

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: b"NVIDIA A100-SXM4-80GB",
        "nvmlDeviceGetMemoryInfo": lambda handle: Memory,
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (8, 0),
        "nvmlSystemGetDriverVersion": lambda: "535.54.03",
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: 1410,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    (gpu,), reason = read_gpus()
    assert reason == ""
    assert (gpu.name, gpu.compute_capability, gpu.clock_max_hz) == (
        "NVIDIA A100-SXM4-80GB",
        "8.0",
        1.41e9,
    )
    assert gpu.memory_bytes == 80 * GIB

    def refuse(handle: int) -> str:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", refuse)
    (gpu,), _ = read_gpus()
    assert gpu.compute_capability is None
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", refuse)
    assert read_gpus()[0] == []


def test_tensor_cores_slower_than_fp32_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    rates = iter([10e12, 100e12])
    asked: list[str] = []

    def compute(rate: float, dtype: Dtype) -> ComputeCeiling:
        return ComputeCeiling(
            dtype=dtype, threads=1, instruction="cuda matmul", flops_per_s=rate, samples=[rate]
        )

    def matmuls(*_: object) -> list[ComputeCeiling]:
        asked.append("compute")
        return [compute(20e12, "fp32"), compute(next(rates), "bf16")]

    def reads(*_: object) -> list[BandwidthCeiling]:
        asked.append("bandwidth")
        return []

    launch = OverheadCeiling(name="cuda_launch", threads=1, time_s=1e-6, samples=[1e-6])
    monkeypatch.setattr("topout.machine.torch_ceilings._measure_matmuls", matmuls)
    monkeypatch.setattr("topout.machine.torch_ceilings._measure_reads", reads)
    monkeypatch.setattr("topout.machine.torch_ceilings._measure_launch", lambda *_: launch)
    gpu = Gpu(name="g", memory_bytes=1 << 34, compute_capability="9.0")
    found = measure_cuda_ceilings(msgspec.structs.replace(describe(), gpus=[gpu]))
    assert asked == ["compute", "bandwidth", "compute"]
    assert [each.flops_per_s for each in found.compute] == [20e12, 100e12]
    assert (found.device, found.doubts, found.overheads) == ("cuda", [], [launch])
    assert found.elapsed_s > 0
