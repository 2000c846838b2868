"""What was counted of a module or a callable while it ran: per op, per module, and what was not.

Numbers of FLOPs and bytes are whole numbers: a count is exact or it is listed as not counted.
`topout cost check` sets such a count beside that of the formulas.
"""

from typing import Literal

from topout.records.record import SCHEMA_VERSION, Record

# "recomputation": a forward that runs again during the backward, to save activations.
CountPhase = Literal["forward", "backward", "recomputation"]
OpFamily = Literal[
    "product",  # matrix products
    "attention",  # fused attention, and the two products inside of an unfused one
    "convolution",
    "recurrent",
    "elementwise",
    "normalization",  # norms and softmax
    "reduction",
    "lookup",  # embeddings, gathers, scatters
    "movement",  # copies, fills, random numbers, sorting
    "custom",  # a formula that the user registered
    "unknown",  # no formula: listed in `not_counted`
]


class Work(Record, frozen=True, kw_only=True):
    """FLOPs and bytes of some op calls together.

    `flops` are those of products, attention, convolutions and recurrent layers, attention in
    full; `causal_flops` the same with causal attention counted as what its mask leaves;
    `other_flops` those of elementwise ops, norms and reductions. Bytes are the traffic without
    fusion and without caches. The intensity is (flops + other_flops) / bytes.
    """

    calls: int
    flops: int
    causal_flops: int
    other_flops: int
    read_bytes: int
    written_bytes: int
    bytes: int  # the two together
    arithmetic_intensity: float | None = None  # FLOP/byte; None where no byte is moved


class CountedOp(Record, frozen=True, kw_only=True):
    """The calls of one op, on tensors of the same shapes, from one module, in one phase."""

    name: str  # "aten::addmm"
    family: OpFamily
    phase: CountPhase
    module: str  # qualified name; "" is the target itself
    inputs: list[list[int]]  # shapes
    outputs: list[list[int]]
    dtype: str  # of the first output: "float32"
    work: Work


class OpTotal(Record, frozen=True, kw_only=True):
    """All calls of one op in one phase."""

    name: str
    family: OpFamily
    phase: CountPhase
    work: Work


class ModuleCount(Record, frozen=True, kw_only=True):
    """The work of one module: its own (`exclusive`), and with all that it calls (`inclusive`).

    `compulsory_bytes` is the traffic that its forward calls cannot do without: what they read of
    tensors made outside, each byte once a call, and what they return or change of those.
    """

    name: str  # as in `named_modules()`; "" is the target itself
    type: str  # its class
    calls: int  # of its forward
    exclusive: dict[CountPhase, Work]
    inclusive: dict[CountPhase, Work]
    compulsory_bytes: int | None = None  # None: no forward of it came to its end


class NotCounted(Record, frozen=True, kw_only=True):
    """An op that ran and whose FLOPs are unknown; its bytes are those of its tensors."""

    name: str
    module: str
    phase: CountPhase
    calls: int
    bytes: int
    reason: str


class CountFailure(Record, frozen=True, kw_only=True):
    """Why the target did not run to its end, and what was therefore never counted."""

    module: str  # the innermost one that was running
    op: str | None = None  # None: it was no op that failed
    message: str
    remedy: str
    not_reached: list[str] = []  # modules that were never called, the outermost of each branch


class Count(Record, frozen=True, kw_only=True, tag_field="kind", tag="count"):
    """The FLOPs and bytes of one run of a module or a callable.

    Where `complete` is False the figures are those of what ran until the failure. FLOPs are all
    of what ran only where `not_counted` is empty.
    """

    schema_version: int = SCHEMA_VERSION
    target: str  # name of the class or of the function
    complete: bool
    failure: CountFailure | None = None
    total: Work
    phases: dict[CountPhase, Work]
    compulsory_bytes: int | None = None  # of the target's forward; see ModuleCount
    ops: list[OpTotal]
    modules: list[ModuleCount]
    rows: list[CountedOp]  # the finest grain; all else is a sum of these
    not_counted: list[NotCounted] = []
    conventions: dict[str, str] = {}


class CountComparison(Record, frozen=True, kw_only=True):
    """One quantity by formula and as traced."""

    what: str  # "matrix products and attention", "convolutions", "parameters"
    formula: int
    traced: int
    reason: str | None = None  # why they differ, where that is known and right

    @property
    def difference(self) -> int:
        """Traced less formula."""
        return self.traced - self.formula


class CountCheck(Record, frozen=True, kw_only=True, tag_field="kind", tag="count_check"):
    """Formula against trace of one forward pass, attention counted in full on both sides."""

    schema_version: int = SCHEMA_VERSION
    model: str
    class_name: str  # of the module that was traced
    batch_size: int
    length: int
    comparisons: list[CountComparison]
    agrees: bool
    not_counted: list[str] = []  # ops that ran and have no formula
    failure: str | None = None  # why the trace is incomplete
