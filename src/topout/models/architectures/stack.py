"""From the layers of a model in order to stacks of equal blocks."""

import msgspec

from topout.models.architecture import Block


def stack_layers(
    layers: list[Block], slides: list[bool] | None = None, window: int | None = None
) -> list[Block]:
    """Equal layers as one stack each, in the order of first appearance.

    Where `slides` is true the layer sees `window` tokens only; without a window all see all.
    Models whose layers alternate in kind become one stack per kind.
    """
    if slides is not None and window is not None and any(slides):
        layers = [
            _sliding(layer, window) if slide else _named(layer, "full")
            for layer, slide in zip(layers, slides, strict=True)
        ]
    stacks: list[Block] = []
    for layer in layers:
        for index, stack in enumerate(stacks):
            if msgspec.structs.replace(stack, count=layer.count) == layer:
                stacks[index] = msgspec.structs.replace(stack, count=stack.count + layer.count)
                break
        else:
            stacks.append(layer)
    return stacks


def _sliding(layer: Block, window: int) -> Block:
    attention = msgspec.structs.replace(layer.attention, window=window)
    return msgspec.structs.replace(_named(layer, "sliding"), attention=attention)


def _named(layer: Block, kind: str) -> Block:
    return msgspec.structs.replace(layer, name=f"{kind}_{layer.name}")
