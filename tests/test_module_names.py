"""Modules have one name each, whoever asks."""

from torch import nn

from topout.module_names import ModuleNames


def test_modules_of_a_root_are_named_as_pytorch_names_them() -> None:
    told: list[tuple[str, str]] = []
    names = ModuleNames(lambda name, module: told.append((name, type(module).__name__)))
    root = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    names.add(root, "")
    assert told == [("", "Sequential"), ("0", "Linear"), ("1", "Sequential"), ("1.0", "ReLU")]
    assert [names.of(module) for module in root.modules()] == [name for name, _ in told]


def test_a_root_may_have_a_name_of_its_own_or_be_named_apart() -> None:
    names = ModuleNames(lambda name, module: None)
    first, second = nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())
    names.add(first, "", nameless="Sequential")
    names.add(second, "head")
    assert [names.of(each) for each in (first, first[0])] == ["Sequential", "0"]
    assert [names.of(each) for each in (second, second[0])] == ["head", "head.0"]


def test_others_are_named_after_their_class_and_numbered() -> None:
    names = ModuleNames(lambda name, module: None)
    names.add(nn.Sequential(nn.ReLU()), "", nameless="Sequential")
    outside = [nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1), nn.Linear(1, 1)]
    assert [names.of(each) for each in outside] == ["Sequential#2", "Linear", "Linear#2"]
    assert names.of(outside[0][0]) == "Sequential#2.0"
    assert names.of(outside[1]) == "Linear"
