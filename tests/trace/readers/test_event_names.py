"""What names of events say, whoever wrote them."""

import pytest

from topout.trace.readers.event_names import (
    canonical_collective,
    collective_of_annotation,
    collective_of_kernel,
    copy_kind,
    message_of,
    work_kind,
)

from .kineto_files import ALL_REDUCE_NEW, ALL_REDUCE_OLD, GEMM


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("allreduce", "all_reduce"),
        ("allreduce_coalesced", "all_reduce"),
        ("_allgather_base", "all_gather"),
        ("allgather_into_tensor_coalesced", "all_gather"),
        ("_reduce_scatter_base", "reduce_scatter"),
        ("reduce_scatter_tensor_coalesced", "reduce_scatter"),
        ("all_to_allv", "all_to_all"),
        ("all_to_all", "all_to_all"),
        ("broadcast", "broadcast"),
        ("send", "send"),
        ("barrier", "barrier"),
        ("something new", "something new"),
    ],
)
def test_names_of_pytorch(written: str, name: str) -> None:
    assert canonical_collective(written) == name


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (ALL_REDUCE_NEW, "all_reduce"),
        (ALL_REDUCE_OLD, "all_reduce"),
        ("ncclAllReduceRingLLKernel_sum_f32(ncclColl)", "all_reduce"),
        ("ncclBroadcastRingLLKernel_copy_i8(ncclColl)", "broadcast"),
        ("ncclReduceRingLLKernel_sum_f32(ncclColl)", "reduce"),
        ("ncclKernel_ReduceScatter_RING_LL_Sum_half(ncclWorkElem)", "reduce_scatter"),
        ("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "all_gather"),
        ("ncclDevKernel_SendRecv(ncclDevComm*, unsigned long, ncclWork*)", "send_recv"),
        ("ncclDevKernel_Generic_1(ncclDevKernelArgsStorage<4096ul>)", None),
        ("oneccl_alltoall_kernel", "all_to_all"),
        ("void vllm::cross_device_reduce_1stage<__half, 4>", "all_reduce"),
        ("one_shot_all_reduce_kernel<c10::BFloat16, 16, 8>", "all_reduce"),
        ("mscclpp::allreduce::kernel<...>", "all_reduce"),
        ("void oneflow::cuda::softmax::SoftmaxBlockAllReduceUncachedImpl", None),
        (GEMM, None),
    ],
)
def test_kernels_of_nccl(kernel: str, name: str | None) -> None:
    assert collective_of_kernel(kernel) == name


def test_annotations_of_back_ends_on_the_host() -> None:
    assert collective_of_annotation("gloo:all_reduce") == "all_reduce"
    assert collective_of_annotation("nccl:all_reduce") is None  # its kernel is counted
    assert collective_of_annotation("ProfilerStep#1") is None


@pytest.mark.parametrize(
    ("name", "kind", "way"),
    [
        ("Memcpy HtoD (Pinned -> Device)", "memcpy", "HtoD"),  # Kineto
        ("[CUDA memcpy DtoA]", "memcpy", "DtoD"),  # nvprof
        ("[CUDA memcpy PtoP]", "memcpy", "PtoP"),
        ("[Unified Memory Memcpy HtoD]", "memcpy", "HtoD"),
        ("[CUDA memcpy Host-to-Device]", "memcpy", "HtoD"),  # Nsight Systems
        ("[CUDA memcpy Device-to-Host]", "memcpy", "DtoH"),
        ("[CUDA memcpy Peer-to-Peer]", "memcpy", "PtoP"),
        ("[CUDA memcpy]", "memcpy", None),
        ("[CUDA memset]", "memset", None),
        ("CopyHostToDevice", "memcpy", "HtoD"),  # ROCm
        ("CopyHostToHost", "memcpy", "HtoH"),
        ("MEMORY_COPY_DEVICE_TO_HOST", "memcpy", "DtoH"),  # rocprofv3
        ("HOST_TO_DEVICE", "memcpy", "HtoD"),
        ("MemcpyH2D", "memcpy", "HtoD"),  # JAX
        ("MemcpyD2D", "memcpy", "DtoD"),
        ("Memcpy M2D", "memcpy", "HtoD"),  # Intel: the memory of the host is M
        ("Memcpy D2M", "memcpy", "DtoH"),
        ("Host To Device", "memcpy", "HtoD"),  # nvprof, of unified memory in its summary
        ("[Unified Memory GPU page faults]", "other", None),
        ("[Unified Memory CPU page faults]", "other", None),
        ("Gpu page fault groups", "other", None),
        ("[Unified Memory page throttle]", "other", None),
        ("host_to_devices_kernel_of_mine", "kernel", "HtoD"),
        (GEMM, "kernel", None),
    ],
)
def test_copies_and_their_directions(name: str, kind: str, way: str | None) -> None:
    assert (work_kind(name), copy_kind(name)) == (kind, way)


@pytest.mark.parametrize(
    ("shapes", "types", "message"),
    [
        ("[[9610]]", '["float"]', (9610, "float")),
        ("[[2, 3], [4], []]", '["int", "int", ""]', (10, "int")),
        ("[[], [], []]", '["float", "", "Scalar"]', (1, "float")),  # a tensor of one number
        ("[[[5], [2, 2]]]", '["TensorList"]', (9, None)),
        ("[]", "[]", (0, None)),
        (None, None, None),
        ("[[1, null]]", "[]", None),
        ("7", "[]", None),
    ],
)
def test_messages_by_their_shapes(
    shapes: str | None, types: str | None, message: tuple[int, str | None] | None
) -> None:
    assert message_of(shapes, types) == message
