"""What one forward pass did: calls of modules, and the ops between them with their sources."""

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from topout.records import TraceFailure

Shape = tuple[int, ...]


@dataclass(eq=False, repr=False, slots=True)
class Helper:
    """A Python function, called by a module's forward, that some ops ran in.

    `holds_calls`: modules were called in it too, so that it is no unit between modules.
    """

    name: str
    holds_calls: bool = False


@dataclass(eq=False, repr=False, slots=True)
class Op:
    """A PyTorch function that ran; `sources` are the ops that its tensors come from.

    `kind`: "input" stands for a tensor given to the model; a "view" changes the shape or the
    type of what it is given and computes nothing.
    """

    index: int
    name: str
    call: "Call | None"  # the innermost module that was running
    kind: Literal["input", "compute", "view"] = "compute"
    helper: Helper | None = None
    sources: list["Op"] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    is_mask: bool = False  # of inputs: boolean
    reads_state: bool = False  # takes a parameter or a buffer of the model


@dataclass(eq=False, repr=False, slots=True)
class Call:
    """One call of a module."""

    index: int
    name: str  # qualified name of the module, by its first registration
    module: nn.Module
    parent: "Call | None"
    children: list["Call"] = field(default_factory=list)
    output_shapes: list[Shape] = field(default_factory=list)
    output_bytes: int = 0


@dataclass(eq=False, repr=False, slots=True)
class Recording:
    """A forward pass: its calls and ops in the order in which they began.

    `outputs` pairs the name of each tensor that came out with its op; None where nothing is
    known to have made it. After a failure both lists end where it stopped.
    """

    module: nn.Module
    names: dict[nn.Module, str]
    inputs: list[tuple[str, Shape, int]] = field(default_factory=list)  # name, shape, bytes
    calls: list[Call] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    outputs: list[tuple[str, Shape, Op | None]] = field(default_factory=list)
    failure: TraceFailure | None = None
