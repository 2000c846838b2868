"""The parts of a model: what its modules are called when all layers of a stack are taken as one.

"blocks.0.mlp.up" and "blocks.11.mlp.up" are both "mlp.up". A number stands for a layer where the
modules that differ in it alone are all of one class.
"""

from collections.abc import Iterable, Mapping

_ANY = "*"


class Parts:
    """Names of parts by names of regions; `types` are the classes of the model's modules."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._stacks = self._find_stacks(types)
        general = {self.general(name) for name in types}
        # Two stacks (an encoder's and a decoder's) may have parts of the same name.
        self._several = len({name.rpartition(f".{_ANY}.")[0] for name in general} - {""}) > 1

    def general(self, region: str) -> str:
        """The region's name with the numbers of layers taken out: "blocks.*.mlp.up"."""
        if region not in self._types:
            return region
        words: list[str] = []
        own: list[str] = []
        for word in region.split("."):
            is_layer = word.isdigit() and ".".join(own) in self._stacks
            words.append(_ANY if is_layer else word)
            own.append(word)
        return ".".join(words)

    def part(self, region: str) -> str:
        """The part that a region belongs to: "mlp.up"; the block itself: "blocks.*"."""
        name = self.general(region)
        inside = name.rpartition(f".{_ANY}.")[2]
        # "blocks.*.1" is no more than "1" without its stack, and says nothing.
        return name if self._several or inside.isdigit() else inside

    @staticmethod
    def _find_stacks(types: Mapping[str, str]) -> set[str]:
        layers: dict[str, list[str]] = {}
        for name, kind in types.items():
            stack, _, last = name.rpartition(".")
            if last.isdigit():
                layers.setdefault(stack, []).append(kind)
        return {stack for stack, kinds in layers.items() if len(kinds) > 1 and _alike(kinds)}


def _alike(kinds: Iterable[str]) -> bool:
    return len(set(kinds)) == 1
