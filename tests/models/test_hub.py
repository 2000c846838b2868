from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from topout.errors import InputError, TopoutError, UnknownNameError, WeightsError
from topout.models import hub

from .tiny import GPT2, write_model

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
        hub.fetch("llama-2-7b", "v9")
    assert "\n" not in str(caught.value)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        hub.fetch("gpt2")


def test_no_pickle_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = answer(monkeypatch, tmp_path)
    assert hub.fetch("gpt2", "main") == tmp_path
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
    assert hub.fetch("gpt2") == whole


def test_a_config_alone_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = answer(monkeypatch, tmp_path)
    assert hub.fetch_config("someone/model", "main") == tmp_path
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
    assert hub.fetch_config("someone/model") == tmp_path
    assert calls == ["someone/model"]


def test_a_config_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, errors.LocalEntryNotFoundError("offline"))
    with pytest.raises(InputError, match="cannot be reached") as caught:
        hub.fetch_config("someone/model")
    assert "random-weights" not in str(caught.value)  # a config alone has no weights to make up
    answer(monkeypatch, errors.RepositoryNotFoundError("no", response=RESPONSE))
    with pytest.raises(UnknownNameError, match="Did you mean bert-base-uncased"):
        hub.fetch_config("bert-base-uncase/d")
