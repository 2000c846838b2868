"""Which of the recorded ops a graph shows, and between which of them data flows."""

from collections import Counter

from topout.models.structure.steps import Call, Helper, Op, Recording

Unit = Call | Helper | Op


class Flow:
    """The ops worth a node, each with the nested units that it lies in.

    Left out are ops that only change shape or type, whatever depends on neither the inputs nor
    the weights (positions, causal masks), what follows from a boolean input alone (masks), and
    results that nobody uses.
    """

    def __init__(self, recording: Recording) -> None:
        self.ops: list[Op] = []
        self._shown: set[Op] = set()
        self._sources: dict[Op, list[Op]] = {}  # of any op: the shown ops and inputs behind it
        alive = _alive(recording)
        derived: set[Op] = set()
        for op in recording.ops:
            if _is_derived(op, derived):
                derived.add(op)
            self._sources[op] = self._behind(op) if op in derived else []
            if op in derived and _is_shown(op, alive):
                self.ops.append(op)
                self._shown.add(op)
        self._ops_in: Counter[Unit] = Counter()
        for op in self.ops:
            self._ops_in.update(unit for unit in (op.call, op.helper) if unit is not None)

    def sources(self, op: Op) -> list[Op]:
        """The shown ops and the inputs that a shown op takes values from."""
        return self._sources[op]

    def reached(self, op: Op) -> list[Op]:
        """The shown ops and the inputs that the value of any op comes from."""
        is_input = op.kind == "input" and not op.is_mask
        return [op] if is_input or op in self._shown else self._sources[op]

    def path(self, op: Op) -> list[Unit]:
        """The units that hold a shown op, outermost first, ending in the one drawn for it."""
        path: list[Unit] = []
        for call in _chain(op.call):
            path.append(call)
            if self._is_atom(call):
                return path
        helper = op.helper
        if helper is not None and not helper.holds_calls and self._ops_in[helper] > 1:
            path.append(helper)
        return [*path, op]

    def _behind(self, op: Op) -> list[Op]:
        reached = (each for source in op.sources for each in self.reached(source))
        return list(dict.fromkeys(reached))

    def _is_atom(self, call: Call) -> bool:
        """Whether a call is drawn without an inside."""
        if call.parent is None or call.children:
            return False
        return _is_of_torch(call) or self._ops_in[call] <= 1


def _is_shown(op: Op, alive: set[Op]) -> bool:
    if op.kind == "input":
        return False
    if op.call is not None and _is_of_torch(op.call) and not op.call.children:
        return True  # one of torch.nn's layers: one node, whatever its ops
    return op.kind == "compute" and op in alive


def _is_derived(op: Op, derived: set[Op]) -> bool:
    """Whether inputs or weights have a part in its value."""
    if op.kind == "input":
        return not op.is_mask
    return op.reads_state or any(source in derived for source in op.sources)


def _alive(recording: Recording) -> set[Op]:
    """The ops that an output depends on."""
    pending = [op for _, _, op in recording.outputs if op is not None]
    alive: set[Op] = set()
    while pending:
        op = pending.pop()
        if op not in alive:
            alive.add(op)
            pending += op.sources
    return alive


def _is_of_torch(call: Call) -> bool:
    return type(call.module).__module__.startswith("torch.nn.")


def _chain(call: Call | None) -> list[Call]:
    calls = []
    while call is not None:
        calls.append(call)
        call = call.parent
    return calls[::-1]
