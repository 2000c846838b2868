"""Names for the modules that run, for those who watch them by hooks."""

from collections.abc import Callable

from torch import nn


class ModuleNames:
    """Modules of roots are named as in `named_modules()`, others when they are first asked for.

    These are named after the class of the outermost module that was asked for: "Linear",
    "Linear#2". `on_new` is told each module's name once.
    """

    def __init__(self, on_new: Callable[[str, nn.Module], None]) -> None:
        self._on_new = on_new
        self._names: dict[int, str] = {}
        self._known: list[nn.Module] = []  # kept alive, so that no other takes its identity

    def add(self, root: nn.Module, prefix: str, nameless: str = "") -> None:
        """Name `root` `prefix`, or `nameless` where that is empty, and the modules in it.

        Those that have names keep them.
        """
        for name, module in root.named_modules(prefix=prefix):
            if id(module) not in self._names:
                self._names[id(module)] = name or nameless
                self._known.append(module)
                self._on_new(name or nameless, module)

    def of(self, module: nn.Module) -> str:
        """The name of a module."""
        if id(module) not in self._names:
            taken = {name.partition(".")[0] for name in self._names.values()}
            kind = type(module).__name__
            numbered = (f"{kind}#{number}" for number in range(2, len(taken) + 3))
            self.add(module, next(name for name in (kind, *numbered) if name not in taken))
        return self._names[id(module)]
