"""What is meant as a model of the hub, when the network is reached, and what is said before."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.winner.climb_folders import climb_folder
from topout.errors import (
    InputError,
    TopoutError,
    UnknownNameError,
    UnsupportedError,
    WeightsError,
)
from topout.ladder.request import ClimbRequest
from topout.ladder.state import ClimbFolder
from topout.models.architectures.read import find_config
from topout.models.hub import fetch, fetch_config
from topout.models.source import resolve_encoder, resolve_model, resolve_source
from topout.profiling.request import ProfileRequest
from topout.verbs.climb import climb, resume
from topout.verbs.profile_model import profile_model
from topout.verbs.run_model import run_model
from topout.verbs.run_request import RunRequest
from topout.winner.choice import choose
from topout.winner.request import LoadRequest

from .tiny import GPT2, write_model

FINDERS = [resolve_model, resolve_encoder, resolve_source, find_config]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in; the network is not forbidden."""
    for name in ("TOPOUT_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


RESPONSE: Any = SimpleNamespace(headers={}, request=None)
CONNECTION_FAILURE = type("ConnectError", (Exception,), {"__module__": "httpx"})


def answer(monkeypatch: pytest.MonkeyPatch, online: Exception | Path) -> list[dict[str, Any]]:
    """Let the hub's cache be empty and the hub answer with `online`; returns the calls it got."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        calls.append({"repository": repository, **options})
        if options.get("local_files_only"):
            raise errors.LocalEntryNotFoundError("not cached")
        if isinstance(online, Exception):
            raise online
        return str(online)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


@pytest.mark.parametrize(
    ("online", "kind", "message"),
    [
        (
            errors.GatedRepoError("gated", response=RESPONSE),
            WeightsError,
            r"Llama-2-7b-hf asks for a licence.*hf auth login.*--random-weights",
        ),
        (
            errors.RepositoryNotFoundError("no", response=RESPONSE),
            UnknownNameError,
            "unknown model 'llama-2-7b'",
        ),
        (
            errors.RevisionNotFoundError("no", response=RESPONSE),
            InputError,
            "has no revision 'v9'",
        ),
        (errors.HFValidationError("no"), UnknownNameError, "unknown model"),
        (errors.LocalEntryNotFoundError("offline"), InputError, "cannot be reached"),
        (errors.HfHubHTTPError("503", response=RESPONSE), InputError, "cannot be reached"),
        (ConnectionResetError("reset"), InputError, "cannot be reached.*--random-weights"),
        (CONNECTION_FAILURE("no route"), InputError, "cannot be reached"),
    ],
)
def test_each_failure_is_one_line(
    online: Exception, kind: type[TopoutError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, online)
    with pytest.raises(kind, match=message) as caught:
        fetch("llama-2-7b", "v9")
    assert "\n" not in str(caught.value)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fetch("gpt2")


def test_no_pickle_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = answer(monkeypatch, tmp_path)
    assert fetch("gpt2", "main") == tmp_path
    cached, online = calls
    assert cached["local_files_only"]
    for call in calls:
        assert (call["repository"], call["revision"]) == ("openai-community/gpt2", "main")
        patterns = call["allow_patterns"]
        assert "*.safetensors" in patterns
        assert not any("bin" in pattern or "*.p" in pattern for pattern in patterns)
    assert not online.get("local_files_only")


def test_a_cached_model_without_weights_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = write_model(tmp_path / "whole", GPT2)
    half = write_model(tmp_path / "half", GPT2)
    (half / "model.safetensors").unlink()

    def snapshot_download(repository: str, **options: Any) -> str:
        return str(half if options.get("local_files_only") else whole)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert fetch("gpt2") == whole


def test_a_config_alone_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = answer(monkeypatch, tmp_path)
    assert fetch_config("someone/model", "main") == tmp_path
    assert [call["allow_patterns"] for call in calls] == [["config.json"]] * 2
    assert [call["revision"] for call in calls] == ["main"] * 2
    assert calls[0]["local_files_only"]


def test_a_cached_config_needs_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    calls: list[str] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        assert options["local_files_only"]
        calls.append(repository)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert fetch_config("someone/model") == tmp_path
    assert calls == ["someone/model"]


def test_a_config_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, errors.LocalEntryNotFoundError("offline"))
    with pytest.raises(InputError, match="cannot be reached") as caught:
        fetch_config("someone/model")
    assert "random-weights" not in str(caught.value)  # a config alone has no weights to make up
    answer(monkeypatch, errors.RepositoryNotFoundError("no", response=RESPONSE))
    with pytest.raises(UnknownNameError, match="Did you mean bert-base-uncased"):
        fetch_config("bert-base-uncase/d")


# --- which name is meant as one -----------------------------------------------------------------


def names_asked(calls: list[dict[str, Any]]) -> list[str]:
    """Of which the network was asked."""
    return [call["repository"] for call in calls if not call.get("local_files_only")]


@pytest.mark.parametrize("find", FINDERS)
def test_a_typing_error_in_a_path_does_not_reach_the_network(
    find: Callable[[str], object], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answer(monkeypatch, errors.RepositoryNotFoundError("no", response=RESPONSE))
    (here / "data").mkdir()
    for name in ("data/model", "data/model.json", "./model", "~/model", "a/b/c", "model/", "modle"):
        with pytest.raises(InputError if "/" in name else UnknownNameError) as caught:
            find(name)
        assert "\n" not in str(caught.value)
    assert calls == []
    with pytest.raises(InputError, match=r"'data' here.*the model of the hub is hub:data/model"):
        find("data/model")
    for name in ("hub:data/model", "other/model"):
        with pytest.raises(UnknownNameError):
            find(name)
    assert names_asked(calls) == ["data/model", "other/model"]


def test_what_is_called_a_model_of_the_hub_is_one_whatever_lies_here(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = write_model(tmp_path / "there", GPT2)
    write_model(here / "someone" / "model", GPT2 | {"n_layer": 1})
    calls = answer(monkeypatch, there)
    assert resolve_model("someone/model").config.layers == 1
    assert find_config("someone/model").config_json["n_layer"] == 1
    assert calls == []
    source = resolve_model("hub:someone/model")
    assert (source.name, source.config.layers) == ("someone/model", 3)
    assert find_config("hub:someone/model").config_json["n_layer"] == 3
    assert names_asked(calls) == ["someone/model"] * 3  # its config, the rest, its config
    assert resolve_model("hub:gpt2").name == "gpt2"
    assert names_asked(calls)[3:] == ["openai-community/gpt2"]


@pytest.mark.parametrize(
    ("verb", "request_type"),
    [(run_model, RunRequest), (climb, ClimbRequest), (profile_model, ProfileRequest)],
)
def test_what_is_not_run_is_refused_by_its_config_alone(
    verb: Callable[..., object],
    request_type: Callable[..., Any],
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = write_model(tmp_path / "there", GPT2)
    (there / "config.json").write_text('{"model_type": "deepseek_v3"}')
    calls = answer(monkeypatch, there)
    with pytest.raises(UnsupportedError, match=r"'deepseek_v3' is not sup.*`topout cost` counts"):
        verb(request_type(model="someone/model"))
    asked = [call["allow_patterns"] for call in calls if not call.get("local_files_only")]
    assert asked and all(patterns == ["config.json"] for patterns in asked)
    assert not (here / "topout-runs").exists()


def test_a_folder_of_what_is_not_run_is_refused_though_it_has_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "deepseek_v3"}')
    with pytest.raises(UnsupportedError, match="deepseek_v3"):
        resolve_model(str(tmp_path))


def test_it_is_said_before_the_network_is_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "topout: fetching openai-community/gpt2 from the Hugging Face Hub\n"

    def snapshot_download(repository: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise errors.LocalEntryNotFoundError("not cached")
        assert capsys.readouterr().err == said
        raise ConnectionResetError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match="cannot be reached"):
        resolve_model("gpt2")


@pytest.mark.parametrize("variable", ["TOPOUT_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_network_can_be_forbidden(
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = answer(monkeypatch, write_model(tmp_path / "there", GPT2))
    for value in ("1", "true", "YES", "on"):
        monkeypatch.setenv(variable, value)
        for find in FINDERS:
            with pytest.raises(InputError, match=f"and {variable} forbids to .*Unset {variable}"):
                find("someone/model")
    assert names_asked(calls) == [] and capsys.readouterr().err == ""
    for value in ("", "0", "false", "No", "OFF"):
        monkeypatch.setenv(variable, value)
        resolve_model("someone/model")
    assert len(names_asked(calls)) == 2 * 5  # its config, then the rest


def test_a_name_that_only_a_file_states_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of a climb may be anybody's: neither to resume it nor to load it asks the hub."""
    calls = answer(monkeypatch, write_model(tmp_path / "there", GPT2))
    folder = climb_folder(tmp_path / "climb")
    ClimbFolder(folder).save_request(ClimbRequest(model="someone/model"))
    message = rf"{folder} names it does not make it fetched.*hf download someone/model"
    with pytest.raises(InputError, match=message):
        resume(folder)
    with pytest.raises(InputError, match=r"does not make it fetched.*--moved-to"):
        choose(LoadRequest(model=str(folder)))
    ClimbFolder(folder).save_request(ClimbRequest(draft="someone/draft"))
    with pytest.raises(InputError, match="'someone/draft' is not on this machine"):
        choose(LoadRequest(model=str(folder), stack="static_cache + speculate_draft"))
    assert names_asked(calls) == []
    with pytest.raises(InputError, match="is not the model of the climb"):
        choose(LoadRequest(model=str(folder), moved_to="someone/model"))
    assert names_asked(calls) == ["someone/model"] * 2
