"""What refuses a file of tensors is told as for any other file."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from topout.errors import OutputError
from topout.tensor_file import writing_tensors


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    """As the library words it; `tests/faults` has a file that the system refuses."""
    refused = r"cannot write .*x.safetensors: I/O error: No space left on device"
    with (
        pytest.raises(OutputError, match=refused) as told,
        writing_tensors(tmp_path / "x.safetensors", "run folder"),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")
    assert told.value.remedy == "Choose another place for the run folder."


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.safetensors"
    with pytest.raises(OutputError, match=r"cannot write .*No such file"), writing_tensors(path):
        save_file({"x": torch.zeros(1)}, path)


def test_what_is_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with writing_tensors(path):
        save_file({"x": torch.ones(2)}, path)
    assert load_file(path)["x"].tolist() == [1.0, 1.0]
