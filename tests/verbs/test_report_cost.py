"""`report_cost`: from a request to a record, on catalog machines and on none."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from tests.cost.test_predict import CEILINGS, RATES
from tests.known_machine import known_ceilings, known_rates
from tests.report.example_climb import example_machine
from topout.errors import InputError, RecordError, UnknownNameError
from topout.ladder.rates import RatesRequest, keep_rates
from topout.machine import ceilings
from topout.machine.catalog.find import find_hardware
from topout.machine.catalog.measured import hardware_of
from topout.machine.ceilings import keep_ceilings
from topout.machine.describe import describe
from topout.models.known import known_config_json
from topout.models.precision import NOT_STATED
from topout.records import Ceilings, CostReport, Machine, Rates, decode, encode
from topout.verbs import cost_machines
from topout.verbs.cost_request import CostRequest
from topout.verbs.report_cost import report_cost


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was measured here, and no machine was saved."""
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "home"))


def cost(model: str, *on: str, **options: object) -> CostReport:
    return report_cost(CostRequest(model=model, on=list(on), **options))  # type: ignore[arg-type]


KINDS = [
    ("gpt2", {"prefill", "decode", "training"}),
    ("llama-3-405b", {"prefill", "decode", "training"}),
    ("mixtral-8x7b", {"prefill", "decode", "training"}),
    ("t5-base", {"prefill", "decode", "training"}),
    ("bert-base-uncased", {"forward", "training"}),
    ("vit-base-patch16-224", {"forward", "training"}),
    ("resnet-50", {"forward", "training"}),
]


@pytest.mark.parametrize(("model", "phases"), KINDS)
def test_every_kind_of_model_has_its_phases(model: str, phases: set[str]) -> None:
    report = cost(model, "a100-80gb", "h200", dtype="bf16")
    for machine in report.machines:
        assert {op.phase for op in machine.ops} == phases
        for name in phases:
            phase = getattr(machine, name)
            ops = [op for op in machine.ops if op.phase == name]
            assert phase.time_s == pytest.approx(sum(op.time_s or 0.0 for op in ops))
            assert sum(op.share or 0.0 for op in ops) == pytest.approx(1.0)
            parts = (phase.compute_s, phase.memory_s, phase.overhead_s, phase.communication_s)
            assert sum(parts) == pytest.approx(phase.time_s)
            assert phase.interval_s.low < phase.time_s < phase.interval_s.high
    assert decode(encode(report), CostReport) == report


def test_llama_2_7b_decode_by_hand() -> None:
    (machine,) = cost("llama-2-7b", "a100-80gb", dtype="bf16", context_len=1000).machines
    assert machine.decode is not None
    # Weights 6,607,077,376; attention 2·2·32·4096 per key: 32·1000·4·4096.
    assert machine.decode.flops == 2 * 6_607_077_376 + 32 * 1000 * 4 * 4096
    kv = sum(op.kv_bytes for op in machine.ops if op.phase == "decode")
    # 2 · 32 · 4096 · 2 bytes a token: 1000 are read, 1 is written.
    assert kv == 2 * 32 * 4096 * 2 * 1001
    assert machine.decode.bound == "memory"
    assert machine.fit is not None and machine.fit.fits


def test_what_a_kv_cache_saves() -> None:
    saving = cost("gpt2", "t4", dtype="fp16", context_len=1000).machines[0].cache_saving
    assert saving is not None
    # A new token's K and V in one block: 2·2·C² FLOPs over 2·C² weights of 2 bytes.
    assert saving.kv_projection_flops == 12 * 4 * 768**2
    assert saving.kv_projection_flops / saving.kv_projection_bytes == 1.0
    # The whole context once more, but for the head, which looks at one position.
    assert 500 * saving.cached_flops < saving.uncached_flops < 1000 * saving.cached_flops
    assert cost("bert-base-uncased", "t4", dtype="fp16").machines[0].cache_saving is None


def test_more_devices_are_faster_and_talk() -> None:
    one, four = (
        cost("llama-2-7b", "a100-80gb", dtype="bf16", tensor_parallel=n).machines[0].decode
        for n in (1, 4)
    )
    assert one is not None and four is not None and one.time_s and four.time_s
    assert four.time_s < one.time_s < 4 * four.time_s
    assert four.communication_s and four.communication_s > 0


def test_replicas_sum_gradients() -> None:
    ops = cost("gpt2", "a100-80gb", dtype="bf16", data_parallel=8).machines[0].ops
    (reduce,) = [op for op in ops if op.name == "gradient_all_reduce"]
    assert reduce.bytes == 2 * 124_439_808 and reduce.bound == "communication"


def test_without_a_machine_there_are_counts_and_a_reason() -> None:
    report = cost("gpt2")
    (machine,) = report.machines
    assert machine.hardware is None and machine.decode is not None
    assert machine.decode.flops > 0 and machine.decode.time_s is None
    assert machine.decode.reason and "--on here" in machine.decode.reason
    assert decode(encode(report), CostReport) == report


def test_a_machine_that_was_measured_is_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    free = msgspec.structs.replace(RATES.modes[0], mode="decoder_compiled")
    rates = msgspec.structs.replace(RATES, modes=[free])
    machine = example_machine()
    ceilings = msgspec.structs.replace(CEILINGS, host_key=machine.host_key)
    here = hardware_of(machine, ceilings, [rates])
    monkeypatch.setattr(cost_machines, "measured_before", lambda *_: here)
    (found,) = cost("gpt2", dtype="fp32").machines
    assert found.name == "here" and found.decode is not None and found.decode.time_s
    assert "measured" in found.assumptions[0]
    (other,) = cost("gpt2", dtype="fp16").machines
    assert other.decode is not None and other.decode.time_s is None
    assert "fp16" in (other.decode.reason or "")


def test_by_default_a_model_is_counted_as_it_was_published() -> None:
    published, wide = (
        cost("llama-2-7b", "a100-80gb", context_len=1000, **asked)
        for asked in ({}, {"dtype": "fp32"})
    )
    assert (published.workload.dtype, published.workload.dtype_origin) == ("fp16", "as published")
    assert wide.workload.dtype_origin == "as asked; published in fp16"
    # 6,738,415,616 parameters of 2 and of 4 bytes
    assert published.memory.weight_bytes == 13_476_831_232
    assert wide.memory.weight_bytes == 26_953_662_464
    rates = [report.machines[0].decode_tokens_per_s or 0.0 for report in (published, wide)]
    assert rates[0] == pytest.approx(104.9, rel=0.1)  # as published for bf16 and gpt-fast
    assert 1.7 < rates[0] / rates[1] < 2  # the overhead of starting the ops is the same


def test_what_is_published_in_fp16_is_timed_in_fp32_where_nothing_else_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = example_machine()
    free = msgspec.structs.replace(RATES.modes[0], mode="decoder_compiled")
    rates = msgspec.structs.replace(RATES, modes=[free])
    ceilings = msgspec.structs.replace(CEILINGS, host_key=machine.host_key)
    here = hardware_of(machine, ceilings, [rates])
    monkeypatch.setattr(cost_machines, "measured_before", lambda *_: here)
    report = cost("bundled")
    assert report.workload.dtype == "fp32"
    assert report.workload.dtype_origin == (
        "published in fp16, of which this machine has no figures"
    )
    assert report.machines[0].decode is not None and report.machines[0].decode.time_s
    # Nothing is taken in its place where that would help nothing, or was not wanted.
    assert cost("bundled", tensor_parallel=2).workload.dtype == "fp16"
    assert cost("bundled", dtype="fp16").machines[0].decode_tokens_per_s is None
    assert cost("bundled", "t4").workload.dtype == "fp16"
    t4 = cost("qwen3-0.6b", "t4").workload  # which has no bf16
    assert t4.dtype_origin == "published in bf16, of which this machine has no figures"
    both = cost("qwen3-0.6b", "t4", "l4")  # an L4 has
    assert both.workload.dtype == "bf16" and both.machines[0].decode_tokens_per_s is None


@pytest.mark.parametrize("stated", ["banana", "float64"])
def test_a_precision_that_is_not_counted_is_refused_unless_another_is_asked_for(
    stated: str, tmp_path: Path
) -> None:
    fields = known_config_json("gpt2") | {"torch_dtype": stated}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"published in '(banana|fp64)'") as caught:
        cost(str(file), "t4")
    assert "--dtype" in str(caught.value.remedy)
    assert cost(str(file), "t4", dtype="fp16").workload.dtype == "fp16"
    del fields["torch_dtype"]
    file.write_text(json.dumps(fields))
    assert cost(str(file), "t4").workload.dtype_origin == NOT_STATED


def test_a_missing_figure_is_told_and_the_rest_is_there() -> None:
    (machine,) = cost("gpt2", "t4", dtype="bf16").machines  # a T4 has no bf16
    assert machine.decode is not None and machine.decode.time_s is None
    assert "bf16" in machine.reasons["decode"] and machine.decode.flops > 0


def test_findings_name_what_bounds_and_what_does_not_fit() -> None:
    report = cost("llama-3-405b", "h200", "a100-80gb", dtype="bf16")
    text = " ".join(report.findings)
    assert "does not fit into the memory of h200" in text and "--tp 8" in text
    assert "waits mostly for memory" in text
    assert "h200 decodes" in text


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "--batch-size 0"),
        ({"prompt_len": -3}, "--prompt-len -3"),
        ({"prompt_len": 2000}, "2000 tokens"),
        ({"context_len": 0}, "--context-len 0"),
        ({"tensor_parallel": 0}, "--tp 0"),
        ({"tensor_parallel": 5}, "5 devices do not divide"),
        ({"dtype": "fp7"}, "fp7"),
        ({"quantize": "int5"}, "int5"),
        ({"mode": "quick"}, "quick"),
        ({"recompute": "some"}, "some"),
    ],
)
def test_bad_sizes_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        cost("gpt2", "a100-80gb", **options)


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="a100-80gb"):
        cost("gpt2", "a100-80g")
    with pytest.raises(UnknownNameError, match="gpt2"):
        cost("gpt3")
    with pytest.raises(InputError, match="twice"):
        cost("gpt2", "h200", "h200")


def test_a_machine_file_with_a_wrong_figure_is_refused(tmp_path: Path) -> None:
    bad = msgspec.structs.replace(find_hardware("h200"), memory_bytes=-1)
    path = tmp_path / "bad.json"
    path.write_bytes(msgspec.json.encode(bad))
    with pytest.raises(RecordError, match="memory_bytes"):
        cost("gpt2", str(path))


def test_the_largest_model_needs_neither_torch_nor_memory() -> None:
    code = (
        "import pathlib, re, sys\n"
        "from topout.verbs.cost_request import CostRequest\n"
        "from topout.verbs.report_cost import report_cost\n"
        "report = report_cost(CostRequest(model='llama-3-405b', on=['h200'], dtype='bf16'))\n"
        "assert report.model.parameters == 405_853_388_800\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        # getrusage would give the peak of the process that started this one, if that is higher.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(1024 * int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1 << 30


@pytest.mark.parametrize("quick", [True, False])
def test_here_is_what_machine_measured(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings of `topout machine`, quick or not, and the rates of an earlier prediction."""
    here = describe(with_torch=True)
    measured = msgspec.structs.replace(known_ceilings(here), quick=quick)
    keep_ceilings(measured, here)

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("measured again")

    monkeypatch.setattr(ceilings, "measure_ceilings", refuse)
    asked: list[RatesRequest] = []

    def rates_for(
        machine: Machine, ceilings: Ceilings, request: RatesRequest, log: Path, *, refresh: bool
    ) -> Rates:
        asked.append(request)
        keep_rates(known_rates(machine, request.threads), machine, ceilings, request)
        return known_rates(machine, request.threads)

    monkeypatch.setattr(cost_machines, "load_or_measure_rates", rates_for)
    (machine,) = cost("gpt2", "here", mode="eager").machines
    assert len(asked) == 1
    (by_itself,) = cost("gpt2", mode="eager").machines
    assert by_itself == machine


def test_here_without_pytorch_is_what_its_ceilings_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that PyTorch reaches is measured or taken, and that is said."""
    here = describe()
    keep_ceilings(known_ceilings(here), here)
    monkeypatch.setattr(cost_machines, "has_extra", lambda extra: False)
    (machine,) = cost("gpt2", "here").machines
    assert machine.decode is not None and machine.decode.time_s > 0
    assert machine.assumptions[0].startswith(
        "here: ceilings measured there, PyTorch's rates not; overheads of compiled runs"
    )
    assert cost("gpt2").machines == [machine]


def test_a_phase_that_is_faster_than_memory_says_where_its_data_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is read at 1 kB/s; what a nearer level holds is timed at 10 kB/s."""
    machine = msgspec.structs.replace(example_machine(), cpu_model="One that no catalog knows")
    near = CEILINGS.bandwidth[0]
    far = msgspec.structs.replace(near, level="DRAM", bytes_per_s=1e3, working_set_bytes=1 << 40)
    near = msgspec.structs.replace(near, level="L3", bytes_per_s=1e4, working_set_bytes=1 << 39)
    ceilings = msgspec.structs.replace(
        CEILINGS, host_key=machine.host_key, bandwidth=[near, far], doubts=[]
    )
    mode = msgspec.structs.replace(
        RATES.modes[0],
        mode="decoder_compiled",
        prefill_fixed_s=0.0,
        prefill_per_layer_s=0.0,
        decode_fixed_s=0.0,
        decode_per_layer_s=0.0,
    )
    linear = [msgspec.structs.replace(each, efficiency=1.0) for each in RATES.linear]
    rates = msgspec.structs.replace(RATES, modes=[mode], linear=linear, elementwise_bytes_per_s=1e9)
    here = hardware_of(machine, ceilings, [rates])
    monkeypatch.setattr(cost_machines, "measured_before", lambda *_: here)
    (found,) = cost("gpt2", dtype="fp32").machines
    assert found.decode is not None and (found.decode.mbu_of_ceiling or 0) > 1.02
    (said,) = [each for each in found.assumptions if each.startswith("here: decode is to move ")]
    assert "above the 1.00 kB/s of DRAM: its data are timed in the nearer level" in said


GIB = 1 << 30
QWEN_AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
QWEN_7B = known_config_json("qwen2.5-7b")


def folder_of(tmp_path: Path, **fields: object) -> str:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B | fields))
    return str(tmp_path)


def test_weights_are_counted_as_they_are_stored(tmp_path: Path) -> None:
    """Qwen2.5-7B in AWQ: its files hold 5.58 GB, head and table in 16 bits."""
    report = cost(folder_of(tmp_path, quantization_config=QWEN_AWQ), "a100-80gb")
    work = report.workload
    assert (work.weight_dtype, work.dtype) == ("int4-g128", "bf16")
    assert work.weight_origin == "as published, awq" and work.unquantized_parts == ["head"]
    parts = report.model.parameters_by_part
    whole = 2 * (parts["embedding"] + parts["norms"] + parts["head"])
    packed = (parts["attention"] + parts["mlp"]) * (0.5 + 4 / 128)
    assert report.memory.weight_bytes == pytest.approx(whole + packed, abs=2)
    assert report.memory.weight_bytes == pytest.approx(5.58e9, rel=0.015)
    # The head is read in 16 bits by the ops as well.
    by_name = {op.name: op for op in report.machines[0].ops if op.phase == "decode"}
    assert by_name["head"].weight_bytes == 2 * parts["head"]
    assert by_name["qkv"].weight_bytes == 28 * 3584 * (3584 + 1024) * (0.5 + 4 / 128)


def test_another_format_than_published_is_said(tmp_path: Path) -> None:
    model = folder_of(tmp_path, quantization_config=QWEN_AWQ)
    whole = cost(model, quantize="none")
    assert whole.workload.weight_dtype == "bf16"
    assert whole.workload.weight_origin == "as asked; published in int4-g128"
    assert whole.memory.weight_bytes == 2 * whole.model.parameters
    other = cost(model, quantize="int8").workload
    assert (other.weight_dtype, other.unquantized_parts) == ("int8", [])
    unknown = cost(folder_of(tmp_path, quantization_config={"quant_method": "aqlm"})).workload
    assert unknown.weight_origin == "published in aqlm, which is not counted"


def test_positions_and_activations_that_change_no_product_are_counted(tmp_path: Path) -> None:
    plain = cost(folder_of(tmp_path))
    stretched = cost(
        folder_of(
            tmp_path,
            hidden_act="relu2",
            rope_scaling={"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0]},
        )
    )
    assert stretched.model.parameters == plain.model.parameters
    assert stretched.machines[0].ops == plain.machines[0].ops
    assert [sentence for sentence in stretched.not_counted if "relu2" in sentence]
    assert [sentence for sentence in stretched.not_counted if "longrope" in sentence]


def test_positions_that_are_not_stated_are_those_of_transformers(tmp_path: Path) -> None:
    assert cost(folder_of(tmp_path, max_position_embeddings=None)).model.context_len == 32_768


def test_the_precision_of_a_composite_is_that_of_its_outer_config(tmp_path: Path) -> None:
    """Gemma 3 4B at 131,072 tokens: 29 layers keep 1024 tokens, 5 all, 4 heads of 256 in bf16."""
    config = {
        "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = cost(str(tmp_path), context_len=131_072)
    assert report.workload.dtype == "bf16"
    assert report.memory.kv_cache_bytes == 2 * 2 * 4 * 256 * (29 * 1024 + 5 * 131_072)
    assert report.memory.kv_cache_bytes == 2_805_989_376
