"""What a climb does around its rungs: full disks, other models, stacks that cannot be tried."""

from pathlib import Path

import msgspec
import pytest

from tests.report.example_climb import example_climb
from tests.rungs.small_models import write_model
from topout.errors import InputError, OutputError
from topout.rungs.climb import UnsavedError, _continued, climb
from topout.rungs.request import ClimbRequest
from topout.rungs.run_folder import RunFolder

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


def test_a_disk_that_is_full_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, climb_cache: Path
) -> None:
    """The climb goes on; at its end the error carries the record."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("TOPOUT_CACHE", str(climb_cache))

    def full(self: RunFolder, record: object) -> None:
        raise OutputError("cannot write run.json: No space left on device.", "Make room.")

    monkeypatch.setattr(RunFolder, "save", full)
    with pytest.raises(UnsavedError) as unsaved:
        climb(small_request(tmp_path / "model"))
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
