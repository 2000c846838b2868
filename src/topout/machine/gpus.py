"""The NVIDIA GPUs of this machine, as the driver describes them."""

from typing import Any

from topout.records import Gpu


def read_gpus() -> tuple[list[Gpu], str]:
    """The GPUs, and the reason when there are none to see."""
    try:
        import pynvml
    except ImportError:
        return [], "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA driver answers ({error})"
    try:
        count = pynvml.nvmlDeviceGetCount()
        gpus = [_read_gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA driver does not describe its devices ({error})"
    finally:
        pynvml.nvmlShutdown()
    return gpus, "" if gpus else "the NVIDIA driver knows no device"


def _read_gpu(nvml: Any, handle: Any) -> Gpu:
    def optional(function: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, function)(*arguments)
        except (nvml.NVMLError, AttributeError):
            return None  # old driver, or a card that does not say

    capability = optional("nvmlDeviceGetCudaComputeCapability", handle)
    clock_mhz = optional("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        driver=_text(driver) if (driver := optional("nvmlSystemGetDriverVersion")) else None,
        compute_capability=".".join(map(str, capability)) if capability else None,
        clock_max_hz=clock_mhz * 1e6 if clock_mhz else None,
    )


def _text(value: str | bytes) -> str:
    """Older bindings answer in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
