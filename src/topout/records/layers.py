"""What `topout cost layers` answers: a model layer by layer, its module tree and its graph."""

from typing import Literal

from topout.records.record import SCHEMA_VERSION, Record

NodeKind = Literal["module", "function", "op"]


class TraceFailure(Record, frozen=True, kw_only=True):
    """Where a forward pass stopped."""

    layer: str  # qualified name and class of the innermost module that was running
    op: str  # "aten::nonzero", or the Python function where no operator was reached
    message: str


class Layer(Record, frozen=True, kw_only=True):
    """One module with what it holds and what it put out; its parts stand in `children`.

    Children stand in the order in which they first ran; those that never ran stand last.
    Bytes and parameters without `own` in front are those of the module with all its parts.
    """

    name: str  # qualified; empty for the model itself
    class_name: str
    depth: int
    calls: int  # in one forward pass
    output_shapes: list[list[int]] | None = None  # of the first call; None: not called
    output_bytes: int = 0  # own outputs, all calls
    forward_bytes: int = 0  # outputs of every layer in it that calls no other layer
    own_parameters: int
    own_shared_parameters: int = 0  # of those, counted in an earlier layer
    shared_with: list[str] = []  # the earlier layers
    parameters: int
    trainable_parameters: int
    parameter_bytes: int
    buffers: int = 0  # elements
    buffer_bytes: int = 0
    children: list["Layer"] = []
    reasons: dict[str, str] = {}


class Layers(Record, frozen=True, kw_only=True):
    """A model layer by layer, with the sums over all of them; each tensor counted once."""

    root: Layer
    parameters: int
    trainable_parameters: int
    buffers: int
    parameter_bytes: int
    buffer_bytes: int
    input_bytes: int
    forward_bytes: int | None = None
    forward_backward_bytes: int | None = None
    total_bytes: int | None = None
    rules: list[str] = []  # how the bytes are counted
    failure: TraceFailure | None = None
    reasons: dict[str, str] = {}


class GraphPort(Record, frozen=True, kw_only=True):
    """A tensor that goes into the model or comes out of it."""

    name: str
    shape: list[int]
    sources: list[str] = []  # of an output: the nodes inside the model that it comes from


class GraphNode(Record, frozen=True, kw_only=True):
    """A module, a function of several ops, or an op, and where its inputs come from.

    `inputs` names nodes beside it, by id, or "^k": input k of the node that it stands in. So a
    node describes its inside without knowing what is around it.
    """

    id: str
    kind: NodeKind
    label: str  # "attn", "apply_rotary_pos_emb", "+"
    class_name: str | None = None  # of modules
    output_shapes: list[list[int]] = []
    parameters: int = 0
    inputs: list[str] = []
    outputs: list[str] = []  # ids of the children whose values leave the node
    children: list["GraphNode"] = []
    repeats: int = 1  # so many equal nodes in a row, each fed by the one before it
    last_label: str | None = None  # of the last of them


class ModuleGraph(Record, frozen=True, kw_only=True):
    """How data flows between the modules of a model."""

    root: GraphNode
    inputs: list[GraphPort]  # in the order of the root's inputs
    outputs: list[GraphPort]
    notes: list[str] = []  # what the graph leaves out


class LayersReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="layers"):
    """What `topout cost layers` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    model: str
    class_name: str
    dtype: str
    dtype_origin: str = ""  # why it is that one: "as published", "as asked"
    inputs: list[GraphPort]
    layers: Layers
    graph: ModuleGraph | None = None
    reasons: dict[str, str] = {}
