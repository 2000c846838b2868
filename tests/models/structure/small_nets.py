"""Small modules, each with one hazard for who follows a forward pass."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two convolutions and two linear layers for images of 28 × 28 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(image), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.view(-1, 320)))
        return F.log_softmax(self.fc2(F.dropout(x, training=self.training)), dim=1)


class Residual(nn.Module):
    """`x + up(relu(down(x)))`."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.Linear(width, 4)
        self.up = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


class Tower(nn.Module):
    """Equal residual blocks between two layers."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.blocks = nn.ModuleList(Residual() for _ in range(blocks))
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class TiedNet(nn.Module):
    """A head that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


class TwiceNet(nn.Module):
    """One layer called twice, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(5, 5)
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class ManyShapes(nn.Module):
    """Hands on dicts, tuples, named tuples and None."""

    class Splits(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"pair": Pair(x[:, :2], x[:, 2:]), "nothing": None}

    class Silent(nn.Module):
        def forward(self, x: Tensor) -> None:
            return None

    def __init__(self) -> None:
        super().__init__()
        self.splits = self.Splits()
        self.silent = self.Silent()
        self.project = nn.Linear(2, 3)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, None, list[Tensor]]:
        parts = self.splits(batch["x"])["pair"]
        self.silent(parts.left)
        return self.project(parts.left), None, [parts.right]


class InPlace(nn.Module):
    """Writes through a view into memory that it then reads as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.zeros(x.shape[0], 4, device=x.device)
        kept[:, :2] = self.layer(x)
        return kept * 2


class AsksForValues(nn.Module):
    """Chooses its way by a value, which meta tensors do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x) if x.sum() > 0 else x


class PastTheFunctions(nn.Module):
    """Computes in a custom autograd function, which PyTorch's function mode does not see."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad * 2

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.Double.apply(x))


class TriesAnother(nn.Module):
    """Calls a layer that fails, and goes on with another."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong = nn.Linear(3, 3)
        self.right = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.wrong(x)
        except RuntimeError:
            return self.right(x)


class CallsItself(nn.Module):
    """A recursive model."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        return self.layer(x) if times == 0 else self(x + 1, times - 1)


class Constant(nn.Module):
    """Puts out what no input has a part in."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(3)


class Unregistered(nn.Module):
    """Makes a module on the way and calls it in the middle of a function."""

    def around(self, x: Tensor) -> Tensor:
        y = torch.exp(torch.relu(x))
        y = nn.Softmax(-1)(y)
        return torch.exp(y * 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(x)


class Raises(nn.Module):
    """A part that raises without any op."""

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such luck\nsecond line")

    def __init__(self) -> None:
        super().__init__()
        self.part = self.Part()

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)
