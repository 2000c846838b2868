"""A captured run: its named regions, its phases, and nothing left behind."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from topout.trace.capture import ModuleRegions, PhaseMark, Phases, capture


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.GELU())


def events_of(path: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("ph") == "X"]


def captured(path: Path, model: nn.Module, roots: dict[str, nn.Module]) -> ModuleRegions:
    phases = Phases(recorded=True, memory=lambda: 5)
    with capture(path, roots) as regions, torch.inference_mode():
        phases.begin("prefill")
        model(torch.ones(2, 4))
        phases.begin("decode token 1")
        model(torch.ones(1, 4))
        phases.end()
    assert [mark.name for mark in phases.marks] == ["prefill", "decode token 1"]
    assert all(mark.wall_s > 0 and mark.rss_at_end_bytes == 5 for mark in phases.marks)
    return regions


def test_modules_and_phases_are_regions_around_their_operators(tmp_path: Path) -> None:
    model = small()
    regions = captured(tmp_path / "trace.json", model, {"": model})
    assert regions.types == {"Sequential": "Sequential", "0": "Linear", "1": "GELU"}
    events = events_of(tmp_path / "trace.json")
    named = [e for e in events if e["cat"] == "user_annotation"]
    names = [e["name"] for e in named]
    assert names.count("phase: prefill") == names.count("phase: decode token 1") == 1
    assert names.count("module: 0") == names.count("module: Sequential") == 2
    linear = next(e for e in events if e["name"] == "aten::linear")
    around = [
        e["name"]
        for e in named
        if e["ts"] <= linear["ts"] and e["ts"] + e["dur"] >= linear["ts"] + linear["dur"]
    ]
    assert around == ["phase: prefill", "module: Sequential", "module: 0"]
    assert linear["args"]["Input Dims"][0] == [2, 4]


def test_a_gzipped_trace_is_written_where_the_name_says_so(tmp_path: Path) -> None:
    model = small()
    captured(tmp_path / "trace.json.gz", model, {"": model})
    assert (tmp_path / "trace.json.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_modules_without_a_root_are_named_after_their_class(tmp_path: Path) -> None:
    model = small()
    regions = captured(tmp_path / "trace.json", model, {})
    assert set(regions.types) == {"Sequential", "Sequential.0", "Sequential.1"}


def test_two_models_of_a_class_have_two_names() -> None:
    one, two = small(), small()
    with ModuleRegions({}) as regions:
        one(torch.ones(1, 4))
        two(torch.ones(1, 4))
    assert {"Sequential", "Sequential#2"} <= set(regions.types)


def test_hooks_are_gone_afterwards_and_told_before_the_region(tmp_path: Path) -> None:
    model = small()
    told: list[nn.Module] = []
    with capture(tmp_path / "trace.json", {"": model}, told.append):
        model(torch.ones(1, 4))
    assert told[0] is model and len(told) == 3
    model(torch.ones(1, 4))
    assert len(told) == 3


def test_a_failing_module_closes_its_regions(tmp_path: Path) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("on purpose")

    with capture(tmp_path / "trace.json", {}):
        with pytest.raises(RuntimeError, match="on purpose"):
            Failing()(torch.ones(1))
        small()(torch.ones(1, 4))
    linear = next(e for e in events_of(tmp_path / "trace.json") if e["name"] == "aten::linear")
    failing = next(e for e in events_of(tmp_path / "trace.json") if e["name"] == "module: Failing")
    assert failing["ts"] + failing["dur"] <= linear["ts"]


def test_phases_without_recording_only_mark_the_time() -> None:
    changes: list[str] = []
    phases = Phases(on_change=changes.append)
    phases.begin("one")
    time.sleep(0.001)
    phases.begin("two")
    phases.end()
    phases.end()
    one, two = phases.marks
    assert one.wall_s >= 0.001 and one.ended_s <= two.began_s
    assert changes == ["one", "two", "", ""]
    assert one == PhaseMark("one", one.began_s, one.ended_s)
