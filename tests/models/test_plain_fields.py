"""A config.json that names code, or another model, is built without it and without a network."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from topout.errors import InputError
from topout.models.hub import offline
from topout.models.load import load_transformers
from topout.models.plain_fields import plain_fields
from topout.models.source import resolve_model
from topout.models.structure.build import build_on_meta

from .tiny import GPT2, write_model

KERNELS = "someone/kernels"
PLANTED: dict[str, Any] = {
    "auto_map": {"AutoConfig": "planted.Config", "AutoModelForCausalLM": "someone/code--m.Model"},
    "attn_implementation": KERNELS,
    "_attn_implementation": KERNELS,
    "_attn_implementation_internal": KERNELS,
    "experts_implementation": KERNELS,
    "_experts_implementation": KERNELS,
    "use_kernels": True,
    "name_or_path": "someone/model",
    "_commit_hash": "0" * 40,
    "use_pretrained_backbone": True,
    "self": 1,
    "cls": 1,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the network is asked for, where nothing forbids it."""
    found: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        found.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return found


def test_what_names_code_is_left_out_at_any_depth() -> None:
    plain = {"n_layer": 2, "_sliding_window_pattern": 6, "layer_types": ["a", "b"]}
    nested = {**plain, "text_config": plain, "more": [plain]}
    planted = {**PLANTED, **plain}
    assert plain_fields({**planted, "text_config": planted, "more": [planted]}) == nested
    assert plain_fields(nested) == nested


def test_transformers_builds_its_own_model(tmp_path: Path, asked: list[object]) -> None:
    """The baseline of a climb; the file beside the weights does not run."""
    folder = write_model(tmp_path / "model", GPT2)
    (folder / "config.json").write_text(json.dumps(GPT2 | PLANTED))
    (folder / "planted.py").write_text("raise AssertionError('it ran')\n")
    model = load_transformers(resolve_model(str(folder)))
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert model.config._attn_implementation == "sdpa"
    assert type(build_on_meta(GPT2 | PLANTED, "planted")).__name__ == "GPT2LMHeadModel"
    assert asked == []


@pytest.mark.parametrize("model_type", ["detr", "dpt", "upernet", "depth_anything", "rt_detr"])
def test_no_other_model_is_fetched_that_a_config_names(
    model_type: str, asked: list[object]
) -> None:
    planted = {
        "model_type": model_type,
        "backbone": "someone/model",
        "use_timm_backbone": False,
        "use_pretrained_backbone": True,
    }
    with pytest.raises(InputError, match=f"transformers builds no {model_type} of this config"):
        build_on_meta(planted, "planted")
    assert asked == []


def test_the_network_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
        with pytest.raises(ZeroDivisionError), offline():
            assert constants.is_offline_mode()
            raise ZeroDivisionError
        assert constants.HF_HUB_OFFLINE is before
