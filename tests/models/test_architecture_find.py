"""From what a user names to an architecture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.models import source
from topout.models.architecture import total_parameters
from topout.models.architectures import read
from topout.models.architectures.read import find_architecture
from topout.models.source import resolve_model

from . import tiny
from .tiny_architectures import BERT, RESNET


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_config(name: str, revision: str | None = None) -> Path:
        raise AssertionError(f"the hub was asked for {name}")

    monkeypatch.setattr(read, "fetch_config", fetch_config)


def write_config(folder: Path, fields: dict[str, object]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


@pytest.mark.usefixtures("no_hub")
def test_a_folder_a_file_and_a_name(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "mine", BERT)
    by_folder = find_architecture(str(folder))
    assert (by_folder.name, by_folder.width) == ("mine", 64)
    assert find_architecture(str(folder / "config.json")) == by_folder
    assert find_architecture("GPT2").name == "gpt2"
    assert find_architecture("openai-community/gpt2") == find_architecture("gpt2")
    assert find_architecture("bundled").name == "pycode-7m"


@pytest.mark.usefixtures("no_hub")
def test_a_file_of_weights_has_its_config_beside_it(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "mine", tiny.GPT2)
    assert find_architecture(str(folder / "model.safetensors")).width == 48


@pytest.mark.usefixtures("no_hub")
def test_a_folder_goes_before_a_known_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / "gpt2", BERT)
    monkeypatch.chdir(tmp_path)
    assert find_architecture("gpt2").model_type == "bert"


def test_another_hub_id_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_config(tmp_path / "3f2a", BERT)
    asked: list[tuple[str, str | None]] = []

    def fetch_config(name: str, revision: str | None = None) -> Path:
        asked.append((name, revision))
        return folder

    monkeypatch.setattr(read, "fetch_config", fetch_config)
    assert find_architecture("someone/model", revision="v2").name == "someone/model"
    assert asked == [("someone/model", "v2")]


def test_the_image_size_is_passed_on() -> None:
    larger = find_architecture("resnet-50", image_size=448)
    assert larger.convolutions[0].out_height == 224
    with pytest.raises(InputError, match="takes no images"):
        find_architecture("gpt2", image_size=224)


@pytest.mark.usefixtures("no_hub")
def test_bad_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean .*mixtral-8x7b"):
        find_architecture("mixtral-7b")
    with pytest.raises(InputError, match="no such folder or file"):
        find_architecture(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no such folder or file"):
        find_architecture("nothing.json")
    with pytest.raises(InputError, match=r"has no config\.json"):
        find_architecture(str(tmp_path))
    with pytest.raises(InputError, match="empty"):
        find_architecture(" ")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="does not hold a JSON object"):
        find_architecture(str(tmp_path / "config.json"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedError, match=r"neither a config\.json nor a safetensors file"):
        find_architecture(str(tmp_path / "notes.txt"))


def test_what_does_not_run_is_refused_before_any_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(name: str, revision: str | None = None) -> Path:
        raise AssertionError(f"the hub was asked for {name}")

    monkeypatch.setattr(source, "fetch", fetch)
    for name in ("bert-base-uncased", "google-bert/bert-base-uncased", "mixtral-8x7b"):
        for random_weights in (False, True):
            with pytest.raises(UnsupportedError, match="is not supported"):
                resolve_model(name, random_weights=random_weights)


def test_no_torch_is_imported() -> None:
    program = (
        "import sys\n"
        "from topout.models.architectures.read import find_architecture\n"
        "from topout.models.architecture import total_parameters\n"
        "print(total_parameters(find_architecture('llama-3-405b')))\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) == total_parameters(find_architecture("llama-3.1-405b"))


def test_a_resnet_in_a_folder(tmp_path: Path) -> None:
    found = find_architecture(str(write_config(tmp_path / "net", RESNET)))
    assert (found.kind, found.width) == ("image", 40)
