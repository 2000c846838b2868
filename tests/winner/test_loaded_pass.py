"""`topout.load_pass`: a model of one pass under a stack, called with batches and texts."""

from pathlib import Path

import msgspec
import pytest
import torch

import topout
from tests.generation.tiny_passes import pass_session
from tests.models.tiny_passes import pass_input, write_pass
from topout.errors import InputError, UnsupportedError
from topout.ladder.request import ClimbRequest
from topout.records import Climb
from topout.report.climb.winner import winner_sections
from topout.verbs.climb import climb
from topout.winner.loaded_pass import LoadedPass

pytestmark = pytest.mark.seconds(60)


def loaded(folder: Path, name: str, stack: str | None = None) -> LoadedPass:
    write_pass(folder / name, name)
    return topout.load_pass(str(folder / name), stack=stack)


def test_a_batch_gives_what_the_session_gives(tmp_path: Path) -> None:
    batch = pass_input("bert")
    expected = pass_session(tmp_path, "bert").outputs(batch)
    with topout.load_pass(str(tmp_path / "bert")) as model:
        assert model.stack == "transformers_eager" and not model.doubts
        torch.testing.assert_close(model(batch), expected)
        assert model("some text").shape == (1, 9, 48)  # bytes: it has no tokenizer
    with pytest.raises(InputError, match="closed"):
        model(batch)


def test_shapes_may_change_under_a_trace(tmp_path: Path) -> None:
    plain, traced = loaded(tmp_path, "bert"), loaded(tmp_path, "bert", "trace")
    for rows, length in ((1, 5), (3, 5), (2, 32)):
        batch = torch.randint(3, 97, (rows, length))
        torch.testing.assert_close(traced(batch), plain(batch), atol=1e-5, rtol=1e-5)


def test_what_is_no_batch_is_refused(tmp_path: Path) -> None:
    text, image = loaded(tmp_path, "bert"), loaded(tmp_path, "vit")
    wrong = {
        "no token ids": torch.zeros(2, 9),
        "no token ids ": torch.zeros(9, dtype=torch.int64),
        "33 tokens do not fit": torch.zeros(1, 33, dtype=torch.int64),
        "what is no token": torch.full((1, 4), 97),
    }
    for message, batch in wrong.items():
        with pytest.raises(InputError, match=message.strip()):
            text(batch)
    for batch in (torch.zeros(1, 3, 32, 33), torch.zeros(1, 3, 32, 32, dtype=torch.int64)):
        with pytest.raises(InputError, match="are no images"):
            image(batch)
    with pytest.raises(InputError, match="takes images"):
        image("some text")


def test_one_call_at_a_time(tmp_path: Path) -> None:
    model = loaded(tmp_path, "bert")
    model._in_use.acquire()
    with pytest.raises(InputError, match="another batch"):
        model(pass_input("bert"))


def test_the_winner_of_a_climb_is_loaded_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    write_pass(tmp_path / "bert", "bert")
    request = ClimbRequest(
        model=str(tmp_path / "bert"), threads=1, rungs=["trace"], time_per_rung_s=0.2, quick=True
    )
    record, folder = climb(request)
    with topout.load_pass(str(folder.path)) as model:
        assert model.stack == record.best
        assert model(pass_input("bert")).shape == (2, 9, 48)
    named = topout.load_pass(str(folder.path), stack="trace + native_linear_fp32")
    assert named.stack == "trace + native_linear_fp32"
    with pytest.raises(UnsupportedError, match="generates nothing") as refused:
        topout.load(str(folder.path))
    assert "load_pass" in refused.value.remedy
    _lines_to_paste_are_of_a_pass(record, str(folder.path))


def _lines_to_paste_are_of_a_pass(record: Climb, folder: str) -> None:
    text = repr(winner_sections(msgspec.structs.replace(record, best="trace"), folder))
    assert f"topout.load_pass({folder!r})(batch)" in text and "generate" not in text


def test_rungs_of_generations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="changes a generation alone"):
        loaded(tmp_path, "bert", "static_cache")
