"""What PyTorch reaches on this machine: the constants of a prediction, measured before any rung.

None is measured on the model that is predicted: linear layers over three working sets, attention
at one shape, and for each execution mode a model so narrow that its time is all overhead.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from topout.generation.build import TORCH_DTYPES, Build, build_session
from topout.generation.session import Session
from topout.ladder.calibrate_native import native_rates
from topout.ladder.rate_trials import MatrixSet, rate_of, time_of
from topout.measure.worker import serve
from topout.models.config import DTYPE_BYTES, ModelConfig
from topout.models.load import ModelSource
from topout.quantization.rounding import quantize_per_channel
from topout.records import (
    AttentionRate,
    Ceilings,
    Dtype,
    LinearRate,
    ModeOverhead,
    Rates,
    WorkloadSummary,
)
from topout.rungs.generate_gemv import MOST_ROWS, few_rows_product
from topout.rungs.quantize_weights_int8 import WeightOnlyInt8Linear
from topout.rungs.registry import find_rung

# In fp32 they are 16, 64 and 270 MB together: within a last-level cache, about its size, and far
# beyond it. With many rows the weights' place matters little, and one set will do.
LIBRARY_SETS = (
    MatrixSet(1024, 256, 16, (1, 5, 256)),
    MatrixSet(1024, 256, 64, (1,)),
    MatrixSet(3072, 768, 28, (1, 5, 256)),
    MatrixSet(3072, 768, 6, (64, 1024)),
)
# Each of these is a graph to compile, seconds apiece, so there are as few as will do.
GENERATED_SETS = (MatrixSet(1024, 256, 16, (1, 5)), MatrixSet(3072, 768, 28, (1,)))
KERNELS: tuple[Dtype, ...] = ("fp32", "bf16", "int8")
MODES = {
    "transformers_eager": [],
    "decoder_eager": ["static_cache"],
    "decoder_compiled": ["static_cache", "compile"],
    "native_eager": ["static_cache", "native_linear_fp32"],
    "native_compiled": ["static_cache", "compile", "native_linear_fp32"],
}
TINY_LAYERS = (2, 5)
TINY_LAYERS_COMPILED = (4,)  # one depth, taken as all per layer: a second one costs 6 s to compile
TINY_PROMPT_LEN = 8
TINY_NEW_TOKENS = 48
_WEIGHT_STD = 30.0  # random weights that are not all zero in int8


def measure_rates(
    *,
    host_key: str,
    versions: str,
    device: str,
    threads: int,
    config_json: dict[str, Any],
    architecture: str,
    ceilings: dict[str, Any],
    with_compile: bool,
    with_native: bool,
) -> Rates:
    """Measure all rates on `threads` threads; takes 10 to 60 seconds."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    where = torch.device(device)
    found = msgspec.convert(ceilings, Ceilings)
    with torch.inference_mode():
        linear = [
            rate
            for matrices in LIBRARY_SETS
            for kernel in KERNELS
            for rate in _linear_rates(kernel, matrices, where, found, threads)
        ]
        if with_compile:
            linear += [
                rate
                for matrices in GENERATED_SETS
                for kernel in KERNELS
                for rate in _gemv_rates(kernel, matrices, where, found, threads)
            ]
        if with_native:
            linear += native_rates(found, threads)
        attention = [_attention_rate(dtype, where) for dtype in ("fp32", "bf16")]
        elementwise = _elementwise_rate(where)
    modes, reasons = [], {}
    for mode, stack in MODES.items():
        if "compile" in stack and not with_compile:
            reasons[mode] = "torch.compile is not available here"
            continue
        if mode.startswith("native") and not with_native:
            reasons[mode] = "the native kernels are not available here"
            continue
        modes.append(_mode_overhead(mode, stack, config_json, architecture, device, threads))
    return Rates(
        host_key=host_key,
        versions=versions,
        device=device,
        threads=threads,
        architecture=architecture,
        linear=linear,
        attention=attention,
        elementwise_bytes_per_s=elementwise,
        modes=modes,
        speculation_pass_s=_speculation_pass_time(config_json, architecture, device, threads),
        reasons=reasons,
    )


def _linear_rates(
    kernel: Dtype,
    matrices: MatrixSet,
    device: torch.device,
    ceilings: Ceilings,
    threads: int,
) -> list[LinearRate]:
    """Efficiency of one kernel on one set of matrices, for each number of rows."""
    n, k, count, _ = matrices
    layers = [_linear(kernel, n, k, device) for _ in range(count)]
    tiny = _linear(kernel, 64, 64, device)
    dtype = torch.float32 if kernel == "fp32" else torch.bfloat16
    rates = []
    for rows in matrices.rows:
        x, small = (torch.randn(rows, width, device=device).to(dtype) for width in (k, 64))

        def run_all(x: Tensor = x) -> None:
            for layer in layers:
                layer(x)

        # The call itself is part of the mode's overhead, and is not counted twice.
        calls = count * time_of(lambda small=small: tiny(small), device)  # type: ignore[misc]
        took = max(time_of(run_all, device) - calls, 1e-9)
        rates.append(
            rate_of(
                f"linear_{kernel}",
                (rows, n, k),
                count,
                DTYPE_BYTES[kernel],
                took,
                ceilings,
                threads,
            )
        )
    return rates


def _gemv_rates(
    kernel: Dtype,
    matrices: MatrixSet,
    device: torch.device,
    ceilings: Ceilings,
    threads: int,
) -> list[LinearRate]:
    """The same of kernels that inductor generates for few rows, in one graph without calls.

    Each product feeds the next, up and down as in an MLP: products of one x would be fused.
    """
    n, k, count, _ = matrices
    stored = torch.int8 if kernel == "int8" else TORCH_DTYPES[kernel]
    shapes = [(n, k), (k, n)] * (count // 2)
    weights = [torch.randn(shape).mul(_WEIGHT_STD).to(device, stored) for shape in shapes]
    dtype = torch.bfloat16 if kernel == "bf16" else torch.float32
    rates = []
    for rows in matrices.rows:
        if rows > MOST_ROWS[kernel]:
            continue
        x = torch.randn(rows, k, device=device).to(dtype)
        torch.compiler.reset()  # each shape is a graph of its own, and their number is limited
        # One graph over all matrices, as in a compiled model: no call from Python per matrix.
        run_all = torch.compile(_chain, fullgraph=True, dynamic=False)
        took = time_of(lambda x=x, run_all=run_all: run_all(x, weights), device)  # type: ignore[misc]
        rates.append(
            rate_of(
                f"gemv_{kernel}", (rows, n, k), count, DTYPE_BYTES[kernel], took, ceilings, threads
            )
        )
    return rates


def _chain(x: Tensor, weights: list[Tensor]) -> Tensor:
    for weight in weights:
        scale = 1 / (_WEIGHT_STD * weight.shape[1] ** 0.5)  # keeps the size of x
        x = (few_rows_product(x, weight) * scale).to(x.dtype)
    return x


def _linear(kernel: Dtype, n: int, k: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    weight = torch.randn(n, k)
    bias = torch.zeros(n)
    if kernel == "int8":
        quantized, scales = quantize_per_channel(weight)
        return WeightOnlyInt8Linear(quantized, scales, bias.bfloat16()).to(device)
    weight = weight.to(device, TORCH_DTYPES[kernel])
    bias = bias.to(device, TORCH_DTYPES[kernel])
    return lambda x: F.linear(x, weight, bias)


def _attention_rate(dtype: Dtype, device: torch.device) -> AttentionRate:
    """Causal prefill of 512 tokens, and one query over 12 layers of 512 keys; 12 heads of 64."""
    heads, length, size, layers = 12, 512, 64, 12
    kind = TORCH_DTYPES[dtype]

    def tensor(rows: int) -> Tensor:
        return torch.randn(1, heads, rows, size, device=device).to(kind)

    q, k, v = tensor(length), tensor(length), tensor(length)
    attend = F.scaled_dot_product_attention
    prefill_s = time_of(lambda: attend(q, k, v, is_causal=True), device)
    flops = 4.0 * heads * size * length * (length + 1) / 2
    caches = [(tensor(length), tensor(length)) for _ in range(layers)]
    query, one = tensor(1), tensor(1)

    def decode() -> None:
        for keys, values in caches:
            attend(query, keys, values)

    calls = layers * time_of(lambda: attend(query, one, one), device)
    decode_s = max(time_of(decode, device) - calls, 1e-9)
    moved = 2.0 * layers * heads * length * size * DTYPE_BYTES[dtype]
    return AttentionRate(
        dtype=dtype,
        prefill_flops_per_s=flops / prefill_s,
        decode_bytes_per_s=moved / decode_s,
    )


def _elementwise_rate(device: torch.device) -> float:
    """Bytes read and written per second by an elementwise op over 512 × 3072 activations."""
    x = torch.randn(512, 3072, device=device)
    other = torch.randn(512, 3072, device=device)
    return 3.0 * x.nbytes / time_of(lambda: x + other, device)


def _mode_overhead(
    mode: str,
    stack: list[str],
    config_json: dict[str, Any],
    architecture: str,
    device: str,
    threads: int,
) -> ModeOverhead:
    """Overhead per call and per layer, from the times of models of different depth."""
    depths = TINY_LAYERS_COMPILED if "compile" in stack else TINY_LAYERS
    times = [
        _tiny_times(stack, config_json, architecture, device, threads, layers) for layers in depths
    ]
    prefill_fixed, prefill_per_layer = fixed_and_per_layer(depths, [each[0] for each in times])
    decode_fixed, decode_per_layer = fixed_and_per_layer(depths, [each[1] for each in times])
    return ModeOverhead(
        mode=mode,
        prefill_fixed_s=prefill_fixed,
        prefill_per_layer_s=prefill_per_layer,
        decode_fixed_s=decode_fixed,
        decode_per_layer_s=decode_per_layer,
    )


def fixed_and_per_layer(depths: Sequence[int], times_s: Sequence[float]) -> tuple[float, float]:
    """(fixed, per layer) seconds of the line through the times at one or two depths, none < 0."""
    if len(depths) == 1:
        return 0.0, times_s[0] / depths[0]
    per_layer = max(0.0, (times_s[1] - times_s[0]) / (depths[1] - depths[0]))
    return max(0.0, times_s[0] - depths[0] * per_layer), per_layer


def _tiny_times(
    stack: list[str],
    config_json: dict[str, Any],
    architecture: str,
    device: str,
    threads: int,
    layers: int,
) -> tuple[float, float]:
    """(TTFT, time per token) of a narrow model in one mode, medians of a few runs."""
    session = _tiny_session(stack, config_json, architecture, device, threads, layers)
    prompt = torch.arange(TINY_PROMPT_LEN)[None]
    for _ in range(2):
        session.generate(prompt, TINY_NEW_TOKENS)
    runs = [session.generate(prompt, TINY_NEW_TOKENS) for _ in range(7)]
    prefill = sorted(run.ttft_s for run in runs)
    decode = sorted((run.total_s - run.ttft_s) / run.forward_passes for run in runs)
    return prefill[len(runs) // 2], decode[len(runs) // 2]


def _speculation_pass_time(
    config_json: dict[str, Any], architecture: str, device: str, threads: int
) -> float:
    """What the verifying loop costs per pass beside the model's own step."""
    plain = MODES["decoder_eager"]
    _, step = _tiny_times(plain, config_json, architecture, device, threads, 1)
    stack = [*plain, "speculate_lookup"]
    _, verified = _tiny_times(stack, config_json, architecture, device, threads, 1)
    return max(0.0, verified - step)


def _tiny_session(
    stack: list[str],
    config_json: dict[str, Any],
    architecture: str,
    device: str,
    threads: int,
    layers: int,
) -> Session:
    fields = tiny_config(config_json, layers)
    config = ModelConfig.from_hugging_face(fields, f"tiny-{architecture}-{layers}")
    source = ModelSource(
        name=config.name,
        folder=None,
        config=config,
        config_json=fields,
        origin="random",
        tensors={},
        weights_dtype="fp32",
        tokenizer_path=None,
        seed=0,
        fingerprint=config.name,
    )
    workload = WorkloadSummary(
        task="generate",
        prompt_len=TINY_PROMPT_LEN,
        new_tokens=TINY_NEW_TOKENS,
        batch_size=1,
        threads=threads,
        device=device,
        dtype="fp32",
        temperature=0.0,
    )
    build = Build(
        source=source,
        workload=workload,
        draft=None,
        quantized_folder=Path(),
        dtype=torch.float32,
    )
    return build_session(build, [find_rung(name) for name in stack])


def tiny_config(config_json: dict[str, Any], layers: int) -> dict[str, Any]:
    """The same architecture, 64 wide, one head, 256 tokens: what is left is overhead."""
    gpt2 = {"n_embd": 64, "n_head": 1, "n_layer": layers, "n_inner": None, "n_positions": 128}
    llama = {
        "hidden_size": 64,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "layer_types": None,
    }
    sizes = gpt2 if config_json.get("model_type") == "gpt2" else llama
    kept = {key: value for key, value in config_json.items() if key not in sizes}
    return {**kept, **{k: v for k, v in sizes.items() if v is not None}, "vocab_size": 256}


if __name__ == "__main__":
    serve({"calibrate": lambda params: msgspec.to_builtins(measure_rates(**params))}, sys.argv[1:])
