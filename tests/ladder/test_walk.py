"""What a climb does around its rungs: full disks, other models, stacks that cannot be tried."""

from pathlib import Path

import msgspec
import pytest
import torch

from tests.models.small_models import write_model
from tests.report.example_climb import example_climb
from topout.errors import InputError, OutputError
from topout.generation.build import Build
from topout.ladder.request import ClimbRequest
from topout.ladder.stack import Stack
from topout.ladder.walk import reason_to_skip
from topout.models.source import resolve_model
from topout.records import RungResult, Status, Verification
from topout.run_folder import RunFolder
from topout.rungs.rung import Rung
from topout.verbs.climb import UnsavedError, _continued, climb

HERE = "tests.ladder.test_walk"
TEXT = str(Path(__file__).parent.parent.parent / "LICENSE")


def small_request(folder: Path) -> ClimbRequest:
    """The baseline alone, briefly."""
    return ClimbRequest(
        model=str(write_model(folder)),
        prompt_len=16,
        new_tokens=4,
        text=TEXT,
        rungs=[],
        quick=True,
    )


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The climb goes on; at its end the error carries the record.

    What the baseline reaches is said before anything that predictions need is measured.
    """
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))

    def full(self: RunFolder, record: object) -> None:
        raise OutputError("cannot write run.json: No space left on device.", "Make room.")

    monkeypatch.setattr(RunFolder, "save", full)
    said: list[str] = []
    with pytest.raises(UnsavedError) as unsaved:
        climb(
            small_request(tmp_path / "model"),
            notify=lambda what, _: said.append(f"now {what}"),
            announce=said.append,
        )
    lines = [place for place, each in enumerate(said) if not each.startswith("now ")]
    assert "tokens/s in decode, the first token after" in said[lines[0]]
    assert said[lines[1]].startswith("transformers_eager: kept, ")
    assert not any("measure" in each for each in said[: lines[0]])
    record = unsaved.value.climb
    assert record.finished and record.rungs[0].status == "kept"
    assert record.rungs[0].decode is not None
    assert "No space left" in str(unsaved.value)


@pytest.mark.parametrize("what", ["machine", "model", "workload"])
def test_a_climb_of_something_else_is_not_continued(what: str) -> None:
    """Rungs of another machine, model or workload cannot be compared."""
    earlier = example_climb()
    changed = {
        "machine": msgspec.structs.replace(earlier.machine, host_key="another"),
        "model": msgspec.structs.replace(earlier.model, fingerprint="another"),
        "workload": msgspec.structs.replace(earlier.workload, new_tokens=7),
    }[what]
    fresh = msgspec.structs.replace(earlier, **{what: changed})
    with pytest.raises(InputError, match=what):
        _continued(earlier, fresh)
    assert _continued(earlier, earlier).rungs == earlier.rungs


def failed(name: str, status: Status, passed: bool | None = None) -> RungResult:
    """A rung that was not kept."""
    verification = None
    if passed is not None:
        verification = Verification(method="m", passed=passed, reason="r", positions=1)
    return RungResult(
        name=name,
        on=[],
        status=status,
        reason="",
        change="",
        output_class="exact",
        verification=verification,
    )


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        ([], None),
        ([failed("compile", "rejected", passed=True)], None),  # slow, but sound
        ([failed("compile", "rejected", passed=False)], "compile, which was rejected"),
        ([failed("compile", "failed")], "compile, which was failed"),
        ([failed("compile", "skipped")], "compile, which was skipped"),
    ],
)
def test_a_rung_is_tried_only_on_sound_ones(
    earlier: list[RungResult], words: str | None, tmp_path: Path
) -> None:
    """What stands on a crash or on a wrong output is skipped, and the reason names it."""
    stack = Stack.of(["static_cache", "compile", "generate_gemv"])
    source = resolve_model("gpt2", random_weights=True)
    workload = example_climb().workload
    build = Build(
        source=source,
        workload=workload,
        draft=None,
        quantized_folder=tmp_path,
        dtype=torch.float32,
    )
    reason = reason_to_skip(stack, build, earlier)
    assert (reason is None) if words is None else (reason is not None and words in reason)


class OnTwoRivals(Rung):
    """Requires what cannot be together."""

    name = "on_two_rivals"
    change = "something"
    requires = ("static_cache", "speculate_lookup", "speculate_draft")


def test_a_rung_that_cannot_stand_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    request = ClimbRequest(model="pycode-1m", rungs=[f"{HERE}:OnTwoRivals"])
    with pytest.raises(InputError, match="speculate_draft cannot be beside speculate_lookup"):
        climb(request)
    assert not (tmp_path / "runs").exists()
