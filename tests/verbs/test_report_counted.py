"""`topout cost` where no formulas describe a model: every part of the report, or why not."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from topout import extras
from topout.errors import InputError, MissingExtraError, UnsupportedError
from topout.records import CostReport
from topout.report.cost.document import cost_document
from topout.report.to_html import to_html
from topout.report.to_terminal import to_terminal
from topout.verbs.check_count import check_count
from topout.verbs.cost_request import CheckRequest, CostRequest
from topout.verbs.report_cost import report_cost

from .small_architectures import small_config


def folder(tmp_path: Path, model_type: str, **fields: Any) -> str:
    config = small_config(model_type) | {"torch_dtype": "bfloat16"} | fields
    place = tmp_path / model_type
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> CostReport:
    place = folder(tmp_path_factory.mktemp("models"), "deepseek_v3")
    return report_cost(CostRequest(model=place, on=["h200", "a100-80gb"], batch_size=2))


def test_the_model_and_its_parts(latent: CostReport) -> None:
    model = latent.model
    assert (model.architecture, model.kind, model.layers) == ("deepseek_v3", "decoder", 5)
    assert (model.width, model.heads, model.vocab_size) == (64, 4, 128)
    assert sum(model.parameters_by_part.values()) == model.parameters > model.active_parameters
    assert set(model.parameters_by_part) == {
        "embedding",
        "attention",
        "mlp",
        "router",
        "norms",
        "head",
    }


def test_phases_have_times_on_every_machine(latent: CostReport) -> None:
    for machine in latent.machines:
        for cost in (machine.prefill, machine.decode, machine.training):
            assert cost is not None and cost.time_s is not None
        assert machine.prefill is not None and machine.prefill.tokens == 2 * 512
        assert machine.decode_tokens_per_s is not None and machine.cache_saving is not None
        assert machine.fit is not None and machine.fit.fits
        assert machine.reasons == {}


def test_parts_of_the_ops_are_those_of_the_model(latent: CostReport) -> None:
    ops = [op for op in latent.machines[0].ops if op.phase == "decode"]
    assert {op.part for op in ops} >= {"attention", "mlp", "router", "norms", "embedding", "head"}
    cost = latent.machines[0].decode
    assert cost is not None
    products = ("linear", "attention", "convolution")
    assert cost.flops == pytest.approx(sum(op.flops for op in ops if op.kind in products))
    assert cost.bytes == pytest.approx(sum(op.bytes for op in ops))


def test_memory_is_that_of_the_latents(latent: CostReport) -> None:
    memory = latent.memory
    assert memory.kv_bytes_per_token == 2 * 5 * (20 + 8)
    assert memory.kv_cache_bytes == 2 * 640 * 2 * 5 * (20 + 8)
    assert memory.kv_table["4"]["512"] == 4 * 512 * 2 * 5 * (20 + 8)
    assert [row.recompute for row in memory.training] == ["none", "selective", "full"]
    none, selective, full = (row.activations_bytes for row in memory.training)
    assert none > selective > full > 0


def test_it_says_how_it_was_counted(latent: CostReport) -> None:
    assert any("DeepseekV3ForCausalLM" in each for each in latent.conventions)
    assert any("1 − (1 − k/E)^T" in each for each in latent.conventions)


def test_terminal_page_and_json_show_it(latent: CostReport) -> None:
    shown = printed(latent)
    assert "mlp.experts.gate_up_proj" in shown and "self_attn.kv_b_proj" in shown
    assert "experts.gate_up_proj" in to_html(cost_document(latent))
    assert msgspec.json.decode(msgspec.json.encode(latent), type=CostReport) == latent


def printed(report: CostReport) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(to_terminal(cost_document(report, full=True)))
    return output.getvalue()


def test_a_scan_has_states_in_the_place_of_a_cache(tmp_path: Path) -> None:
    report = report_cost(CostRequest(model=folder(tmp_path, "mamba"), on=["h200"]))
    assert report.memory.kv_bytes_per_token == 0
    assert report.memory.kv_cache_bytes == 20_480
    assert report.model.parameters_by_part["scan"] > 0
    assert "context any at batch 1" in printed(report)


def test_an_encoder_has_one_pass(tmp_path: Path) -> None:
    report = report_cost(CostRequest(model=folder(tmp_path, "modernbert"), on=["h200"]))
    (machine,) = report.machines
    assert machine.forward is not None and machine.decode is None
    assert report.workload.prompt_len == 64  # as many as there are positions
    assert report.memory.kv_cache_bytes is None


@pytest.mark.parametrize(
    "asked",
    [{"tensor_parallel": 2}, {"pipeline_parallel": 2}, {"dropout": True}, {"attention": "plain"}],
)
def test_what_is_not_modelled_is_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    request = CostRequest(model=folder(tmp_path, "phi"), on=["h200"], **asked)
    with pytest.raises(UnsupportedError, match="is not modelled for PhiForCausalLM"):
        report_cost(request)


def test_more_tokens_than_there_are_positions_are_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, "phi", max_position_embeddings=64)
    with pytest.raises(InputError, match="65 tokens are more than phi has positions for"):
        report_cost(CostRequest(model=place, on=["h200"], context_len=65, prompt_len=8))


def test_without_pytorch_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path, "phi")
    monkeypatch.setattr(extras, "is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match=r"phi \(phi\).*needs PyTorch.*topout\[climb\]"):
        report_cost(CostRequest(model=place, on=["h200"]))


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("raise SystemExit('it was run')")
    config = {"model_type": "novel", "auto_map": {"AutoModelForCausalLM": "modeling.Novel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedError, match="no model_type 'novel', and its own code is never"):
        report_cost(CostRequest(model=str(tmp_path), on=["h200"]))


def test_a_type_of_its_own_is_read_as_that_of_the_class_it_names(tmp_path: Path) -> None:
    place = folder(tmp_path, "deepseek_v3")
    named = {"model_type": "kimi_k2", "architectures": ["DeepseekV3ForCausalLM"]}
    config = json.loads((Path(place) / "config.json").read_text()) | named
    (Path(place) / "config.json").write_text(json.dumps(config))
    report = report_cost(CostRequest(model=place, on=["h200"]))
    assert report.model.architecture == "kimi_k2"
    assert any("'kimi_k2' may do otherwise than 'deepseek_v3'" in e for e in report.not_counted)


def test_there_is_no_formula_to_check(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'phi' is not read from config\.json"):
        check_count(CheckRequest(model=folder(tmp_path, "phi")))
