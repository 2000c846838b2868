"""Modules of the user's own, by the name of what makes them, and the inputs they are given."""

from pathlib import Path

import pytest
import torch
from torch import nn

from topout.errors import InputError
from topout.import_path import names_own_code
from topout.models.own_module import own_module, read_shape

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = torch.relu(torch.max_pool2d(self.conv1(x), 2))
        x = torch.relu(torch.max_pool2d(self.conv2(x), 2))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))

def with_inputs():
    return Net(), torch.zeros(2, 1, 28, 28)

def with_keywords():
    return Net(), {"x": torch.zeros(3, 1, 28, 28)}

made = Net()

def wants(size):
    return Net()

def text():
    return "a module"

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(CODE)
    return str(tmp_path / "net.py")


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("net.py:Net", True),
        ("some where/net.py:Net", True),
        ("package.module:make", True),
        ("gpt2", False),
        ("hub:gpt2", False),
        ("owner/model", False),
        ("hub:owner/model", False),
        ("net.py", False),
        ("net.py:", False),
        ("a:b:c", False),
    ],
)
def test_what_names_code(name: str, is_own: bool) -> None:
    assert names_own_code(name) is is_own


def test_a_class_is_made_without_memory(path: str) -> None:
    found = own_module(f"{path}:Net", ["1x1x28x28"])
    assert sum(each.numel() for each in found.module.parameters()) == 21_840
    assert {each.device.type for each in found.module.parameters()} == {"meta"}
    assert [tuple(each.shape) for each in found.arguments] == [(1, 1, 28, 28)]
    assert not found.module.training


def test_it_may_give_its_inputs(path: str) -> None:
    (given,) = own_module(f"{path}:with_inputs", []).arguments
    assert (tuple(given.shape), given.device.type) == ((2, 1, 28, 28), "meta")
    (other,) = own_module(f"{path}:with_inputs", ["5x1x28x28"]).arguments
    assert other.shape[0] == 5
    keywords = own_module(f"{path}:with_keywords", [])
    assert keywords.arguments == () and keywords.keywords["x"].shape[0] == 3
    assert isinstance(own_module(f"{path}:made", ["1x1x28x28"]).module, nn.Module)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wants", "missing 1 required positional argument"),
        ("text", "makes str, and no module"),
        ("leaves", "SystemExit"),
        ("Missing", "has no attribute 'Missing'"),
        ("Net", "what it is called with is not known"),
    ],
)
def test_code_that_cannot_be_used_is_said(path: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_module(f"{path}:{name}", [])


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"there is no file none\.py"):
        own_module("none.py:Net", ["1"])
    with pytest.raises(InputError, match="No module named"):
        own_module("no_such_module_here:Net", ["1"])


def test_shapes() -> None:
    assert tuple(read_shape("1x3x224x224").shape) == (1, 3, 224, 224)
    assert read_shape("2,128:int64").dtype == torch.int64
    assert read_shape("7").shape == (7,)
    for wrong in ("", "x", "1xx2", "-1x2", "1x2:complex", "1x2:", "9999999x9999999"):
        if wrong == "1x2:":
            continue
        with pytest.raises(InputError, match="--input"):
            read_shape(wrong)
