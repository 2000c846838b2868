"""Kineto traces made for tests: in the layout of PyTorch's profiler, new (2.x) and old (1.x).

`KinetoWriter` writes any events; `training_trace` writes some steps of training on one GPU per
rank, with all kinds of events that a real trace has, at times that follow from its arguments.
"""

import gzip
import json
from pathlib import Path
from typing import Any

BASE_NS = 1_790_857_026_000_000_000  # baseTimeNanoseconds of new traces
HOST_PROCESS = 4711
HOST_THREAD = 4711
BACKWARD_THREAD = 4801
COMPUTE_STREAM = 7
COMMUNICATION_STREAM = 20
GEMM = "ampere_sgemm_128x64_tn"
ELEMENTWISE = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, "
    "std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul>)"
)
NORMALIZATION = (
    "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>"
    "(int, float, float const*, float const*, float const*, float*, float*, float*)"
)
SOFTMAX = (
    "void (anonymous namespace)::softmax_warp_forward<float, float, float, 8, false, false>"
    "(float*, float const*, int, int, int, bool const*, int, bool)"
)
ALL_REDUCE_NEW = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
ALL_REDUCE_OLD = "ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)"


class KinetoWriter:
    """Collects events and writes them; all times are whole nanoseconds from `BASE_NS`.

    `old`: absolute microseconds in whole numbers without a base, no arguments of collectives on
    kernels, "async_cpu_to_gpu". `rank` None: a trace that says nothing of a job.
    """

    def __init__(
        self,
        *,
        rank: int | None = None,
        world_size: int = 1,
        old: bool = False,
        gpus: int = 1,
        host: str | None = "node-1",
        base_ns: int = BASE_NS,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.old = old
        self.gpus = gpus
        self.host = host
        self.base_ns = base_ns
        self.events: list[dict[str, Any]] = []
        self._ids = 0

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def microseconds(self, ns: int) -> float | int:
        """A moment as this trace writes it."""
        return (self.base_ns + ns) // 1000 if self.old else ns / 1000

    def add(self, category: str, name: str, start_ns: int, duration_ns: int, **more: Any) -> None:
        """A complete event; `more`: pid, tid, args."""
        duration = duration_ns // 1000 if self.old else duration_ns / 1000
        lane = {"pid": HOST_PROCESS, "tid": HOST_THREAD, **more}
        self.events.append(
            {
                "ph": "X",
                "cat": category,
                "name": name,
                "pid": lane.pop("pid"),
                "tid": lane.pop("tid"),
                "ts": self.microseconds(start_ns),
                "dur": duration,
                **lane,
            }
        )

    def operator(
        self,
        name: str,
        start_ns: int,
        duration_ns: int,
        *,
        shapes: list[Any] | None = None,
        types: list[str] | None = None,
        thread: int = HOST_THREAD,
        **arguments: Any,
    ) -> int:
        """An operator of PyTorch; returns its External id."""
        external = self.next_id()
        args: dict[str, Any] = {"External id": external, **arguments}
        if shapes is not None:
            args["Input Dims"] = shapes
            args["Input type"] = types or ["float"] * len(shapes)
        self.add("cpu_op", name, start_ns, duration_ns, tid=thread, args=args)
        return external

    def launch(
        self,
        name: str,
        start_ns: int,
        duration_ns: int,
        *,
        external: int | None = None,
        thread: int = HOST_THREAD,
        category: str = "cuda_runtime",
    ) -> int:
        """A call of the runtime with the flow that starts in it; returns its correlation."""
        correlation = self.next_id()
        args: dict[str, Any] = {"cbid": 211, "correlation": correlation}
        if external is not None:
            args = {"External id": external, **args}
        self.add(category, name, start_ns, duration_ns, tid=thread, args=args)
        self._flow("s", correlation, start_ns, HOST_PROCESS, thread)
        return correlation

    def kernel(
        self,
        name: str,
        start_ns: int,
        duration_ns: int,
        *,
        device: int = 0,
        stream: int = COMPUTE_STREAM,
        correlation: int | None = None,
        external: int | None = None,
        occupancy: int = 50,
        blocks_per_sm: float = 2.5,
        **more: Any,
    ) -> None:
        """A kernel; `more` are further arguments, such as those of a collective."""
        identity = self._identity(correlation, external)
        args = {
            "queued": 0,
            "device": device,
            "context": 1,
            "stream": stream,
            **identity,
            "registers per thread": 32,
            "shared memory": 0,
            "blocks per SM": blocks_per_sm,
            "warps per SM": blocks_per_sm * 4,
            "grid": [270, 1, 1],
            "block": [128, 1, 1],
            "est. achieved occupancy %": occupancy,
            **more,
        }
        self.add("kernel", name, start_ns, duration_ns, pid=device, tid=stream, args=args)
        self._flow("f", correlation, start_ns, device, stream)

    def copy(
        self,
        direction: str,
        start_ns: int,
        duration_ns: int,
        size_bytes: int,
        *,
        device: int = 0,
        stream: int = COMPUTE_STREAM,
        correlation: int | None = None,
        external: int | None = None,
        to_device: int | None = None,
    ) -> None:
        """A copy: "HtoD", "DtoH", "DtoD", or "PtoP" with `to_device`."""
        ends = {"H": "Pinned", "D": "Device", "P": "Device"}
        name = f"Memcpy {direction} ({ends[direction[0]]} -> {ends[direction[3]]})"
        args = {
            "device": device,
            "context": 1,
            "stream": stream,
            **self._identity(correlation, external),
            "bytes": size_bytes,
            "memory bandwidth (GB/s)": size_bytes / max(1, duration_ns),
        }
        if to_device is not None:
            del args["device"]
            args |= {"fromDevice": device, "inDevice": device, "toDevice": to_device}
        self.add("gpu_memcpy", name, start_ns, duration_ns, pid=device, tid=stream, args=args)
        self._flow("f", correlation, start_ns, device, stream)

    def fill(
        self,
        start_ns: int,
        duration_ns: int,
        size_bytes: int,
        *,
        device: int = 0,
        stream: int = COMPUTE_STREAM,
        correlation: int | None = None,
    ) -> None:
        """A memset of device memory."""
        args = {"device": device, "context": 1, "stream": stream, "bytes": size_bytes}
        args |= self._identity(correlation, None)
        lane = {"pid": device, "tid": stream}
        self.add("gpu_memset", "Memset (Device)", start_ns, duration_ns, args=args, **lane)

    def collective(
        self,
        name: str,
        kernel: str,
        launch_ns: int,
        start_ns: int,
        duration_ns: int,
        elements: int,
        *,
        elements_out: int | None = None,
        element_type: str = "Float",
        device: int = 0,
        stream: int = COMMUNICATION_STREAM,
        thread: int = HOST_THREAD,
    ) -> None:
        """A collective: the operator that records it, its launch and its kernel.

        New traces say on the kernel what it moves, old ones on the operator alone.
        """
        message = {
            "Collective name": name,
            "In msg nelems": elements,
            "Out msg nelems": elements if elements_out is None else elements_out,
            "Group size": self.world_size,
            "dtype": element_type,
            "Process Group Name": "0",
            "Process Group Description": "default_pg",
            "Process Group Ranks": str(list(range(self.world_size))),
        }
        external = self.operator(
            "record_param_comms", launch_ns, 30_000, thread=thread, **message, Rank=self.rank or 0
        )
        correlation = self.launch(
            "cudaLaunchKernelExC", launch_ns + 10_000, 8_000, external=external, thread=thread
        )
        self.kernel(
            kernel,
            start_ns,
            duration_ns,
            device=device,
            stream=stream,
            correlation=correlation,
            external=external,
            occupancy=3,
            blocks_per_sm=0.2,
            **({} if self.old else message),
        )

    def annotation(self, name: str, start_ns: int, duration_ns: int, **more: Any) -> None:
        """A named region on the host."""
        args = {"External id": self.next_id()}
        self.add("user_annotation", name, start_ns, duration_ns, args=args, **more)

    def device_annotation(
        self,
        name: str,
        start_ns: int,
        duration_ns: int,
        *,
        device: int = 0,
        stream: int = COMPUTE_STREAM,
    ) -> None:
        """The same region as the device saw it."""
        args = {"External id": self.next_id()}
        lane = {"pid": device, "tid": stream}
        self.add("gpu_user_annotation", name, start_ns, duration_ns, args=args, **lane)

    def python(self, name: str, start_ns: int, duration_ns: int) -> None:
        """A Python function."""
        args = {"Python id": self.next_id(), "Python parent id": None, "Ev Idx": 0}
        self.add("python_function", name, start_ns, duration_ns, args=args)

    def memory(
        self,
        at_ns: int,
        size_bytes: int,
        allocated_bytes: int,
        *,
        reserved_bytes: int = 0,
        device: int | None = 0,
    ) -> None:
        """An allocation, or with a negative size a release; `device` None: on the host."""
        args = {
            "Total Reserved": reserved_bytes,
            "Total Allocated": allocated_bytes,
            "Bytes": size_bytes,
            "Device Id": -1 if device is None else device,
            "Device Type": 0 if device is None else 1,
            "Addr": 94_431_626_957_888,
        }
        self.events.append(
            {
                "ph": "i",
                "cat": "cpu_instant_event",
                "s": "t",
                "name": "[memory]",
                "pid": HOST_PROCESS,
                "tid": HOST_THREAD,
                "ts": self.microseconds(at_ns),
                "args": args,
            }
        )

    def document(self) -> dict[str, Any]:
        """The whole trace as it is written."""
        properties = [
            {
                "id": device,
                "name": "NVIDIA A100-SXM4-80GB",
                "totalGlobalMem": 85_899_345_920,
                "computeMajor": 8,
                "computeMinor": 0,
                "maxThreadsPerBlock": 1024,
                "warpSize": 32,
                "numSms": 108,
            }
            for device in range(self.gpus)
        ]
        document: dict[str, Any] = {"schemaVersion": 1, "deviceProperties": properties}
        if self.rank is not None:
            document["distributedInfo"] = self._job()
        if not self.old:
            if self.host:
                document["host_name"] = self.host
            document |= {
                "cuda_runtime_version": 12060,
                "displayTimeUnit": "ms",
                "baseTimeNanoseconds": self.base_ns,
            }
        document["traceEvents"] = [*self._names(), *self.events, *self._ends()]
        document["traceName"] = "trace.json"
        return document

    def text(self, *, indent: int | None = 2) -> str:
        """The JSON: indented as new profilers write it, or on one line."""
        return json.dumps(self.document(), indent=indent)

    def save(self, path: Path, *, indent: int | None = 2) -> Path:
        """Write the trace, compressed where the name ends in .gz."""
        data = self.text(indent=indent).encode()
        path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)
        return path

    def _identity(self, correlation: int | None, external: int | None) -> dict[str, int]:
        given = {"External id": external, "correlation": correlation}
        return {key: value for key, value in given.items() if value is not None}

    def _flow(self, phase: str, number: int | None, at_ns: int, pid: int, tid: int) -> None:
        if number is None:
            return
        name = "async_cpu_to_gpu" if self.old else "ac2g"
        flow = {"ph": phase, "id": number, "pid": pid, "tid": tid, "cat": name, "name": name}
        self.events.append({**flow, "ts": self.microseconds(at_ns)})

    def _job(self) -> dict[str, Any]:
        job: dict[str, Any] = {"backend": "nccl", "rank": self.rank, "world_size": self.world_size}
        if self.old:
            return job
        group = {"pg_name": "0", "pg_desc": "default_pg", "pg_size": self.world_size}
        return {**job, "pg_count": 1, "pg_config": [group], "nccl_version": "2.26.2"}

    def _names(self) -> list[dict[str, Any]]:
        at = self.microseconds(0)
        lanes = {HOST_PROCESS: "CPU"} | {gpu: f"GPU {gpu}" for gpu in range(self.gpus)}
        return [
            {"ph": "M", "name": name, "ts": at, "pid": pid, "tid": 0, "args": args}
            for pid, label in lanes.items()
            for name, args in (
                ("process_name", {"name": "python"}),
                ("process_labels", {"labels": label}),
            )
        ]

    def _ends(self) -> list[dict[str, Any]]:
        at = self.microseconds(0)
        span = {"cat": "Trace", "name": "PyTorch Profiler (0)", "args": {"Op count": 0}}
        return [
            {"ph": "X", **span, "pid": "Spans", "tid": "PyTorch Profiler", "ts": at, "dur": 1},
            {"ph": "i", "s": "g", "name": "Record Window End", "pid": "", "tid": "", "ts": at},
        ]


def training_trace(
    *,
    rank: int | None = 0,
    world_size: int = 2,
    steps: int = 2,
    layers: int = 2,
    old: bool = False,
    late_ns: int = 0,
    device: int = 0,
    collective_until_ns: int | None = None,
) -> KinetoWriter:
    """Steps of training: copy in, forward, backward with one all_reduce beside it, update.

    A step takes 1 ms + 400 µs per layer. All work on the device comes `late_ns` late, as on a
    straggling rank; its collective ends when it would have ended on time (the latest rank ends it),
    or `collective_until_ns` after the step began.
    """
    trace = KinetoWriter(rank=rank, world_size=world_size, old=old, gpus=max(1, device + 1))
    step_ns = 1_000_000 + 400_000 * layers
    for step in range(steps):
        _training_step(
            trace, step, step * step_ns, step_ns, layers, late_ns, device, collective_until_ns
        )
    return trace


def _training_step(
    trace: KinetoWriter,
    step: int,
    begin: int,
    length: int,
    layers: int,
    late: int,
    device: int,
    collective_until: int | None,
) -> None:
    trace.annotation(f"ProfilerStep#{step + 3}", begin, length)
    trace.python("train.py(42): train_step", begin + 1_000, length - 2_000)
    trace.python("nn.Module: Decoder_0", begin + 60_000, 150_000 * layers)
    copy = trace.operator("aten::copy_", begin + 5_000, 40_000, shapes=[[8, 416], [8, 416]])
    correlation = trace.launch("cudaMemcpyAsync", begin + 10_000, 20_000, external=copy)
    at = begin + 50_000 + late
    trace.copy("HtoD", at, 20_000, 26_624, device=device, correlation=correlation, external=copy)
    correlation = trace.launch("cudaMemsetAsync", begin + 45_000, 5_000)
    trace.fill(at + 20_000, 5_000, 4_096, device=device, correlation=correlation)
    at = _layers(trace, begin + 60_000, at + 30_000, layers, device, backward=False)
    backward = _layers(trace, begin + 260_000, at, layers, device, backward=True)
    trace.memory(begin + 250_000, 1 << 20, (1 << 20) * (step + 1), reserved_bytes=64 << 20)
    end = begin + (collective_until or 500_000 + 300_000 * layers)
    trace.collective(
        "allreduce",
        ALL_REDUCE_OLD if trace.old else ALL_REDUCE_NEW,
        begin + 400_000,
        at,
        end - at,
        110_000 * layers,
        device=device,
        thread=BACKWARD_THREAD,
    )
    trace.device_annotation("Optimizer.step#AdamW.step", max(backward, end), 60_000, device=device)
    update = trace.operator("aten::_foreach_add_", begin + 600_000, 30_000, shapes=[[[768, 768]]])
    correlation = trace.launch("cudaLaunchKernel", begin + 610_000, 6_000, external=update)
    identity = {"correlation": correlation, "external": update, "device": device}
    trace.kernel(ELEMENTWISE, max(backward, end), 60_000, **identity)
    trace.launch("cudaDeviceSynchronize", begin + 650_000, length - 700_000)


def _layers(
    trace: KinetoWriter, host: int, device_at: int, layers: int, device: int, *, backward: bool
) -> int:
    """Four kernels for each layer, one after another; returns when the last one ends."""
    thread = BACKWARD_THREAD if backward else HOST_THREAD
    operators = (
        ("aten::addmm", GEMM, 80_000, [[768], [416, 768], [768, 768], [], []]),
        ("aten::add", ELEMENTWISE, 10_000, [[416, 768], [416, 768], []]),
        ("aten::native_layer_norm", NORMALIZATION, 15_000, [[416, 768], [], [768], [768], []]),
        ("aten::_softmax", SOFTMAX, 12_000, [[12, 416, 416], [], []]),
    )
    for layer in range(layers):
        for number, (name, kernel, length, shapes) in enumerate(operators):
            called = name.replace("aten::", "") + "Backward0" if backward else name
            at = host + (layer * len(operators) + number) * 12_000
            external = trace.operator(
                called, at, 10_000, shapes=shapes, thread=thread, **{"Sequence number": layer}
            )
            correlation = trace.launch(
                "cudaLaunchKernel", at + 4_000, 4_000, external=external, thread=thread
            )
            trace.kernel(
                kernel,
                device_at,
                length,
                device=device,
                correlation=correlation,
                external=external,
            )
            device_at += length + 2_000
    return device_at
