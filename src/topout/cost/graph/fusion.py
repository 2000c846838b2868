"""From the calls of a run to kernels: what is fused, and what then goes through memory.

A matrix product, a convolution and an attention are a kernel each. What runs between them in one
part of one layer is one kernel together: it reads what was made outside of it, and writes what is
read later; products of activations among themselves, as in attention that is written out or in a
scan, belong to it. Products that read the same input are one, as Q, K and V are.

The weights are told by their memory, and what is made of weights alone counts as weights. Of a
cache, what is joined to it is written, and what is read of it is read.
"""

from typing import Any

from topout.cost.graph.attended import window_pairs
from topout.cost.graph.calls import MARKS, Log, LoggedCall, Use
from topout.cost.graph.kept import kept_for_backward
from topout.cost.graph.kernels import Fused, Kernel, Memory, bytes_of_parts
from topout.cost.graph.layer_kinds import LayerKinds
from topout.cost.graph.module_parts import ModuleParts

_PRODUCTS = ("product", "recurrent")


def fused(
    log: Log,
    memory: Memory,
    parts: ModuleParts,
    kinds: LayerKinds,
    element_bytes: int,
    result: frozenset[int] = frozenset(),
    causal_tokens: int | None = None,
) -> Fused:
    """The kernels of a logged run; `result` are addresses that are read after it.

    `causal_tokens` of a decoder are its new ones: of attention that is written out, the products
    count as far as a causal mask leaves them.
    """
    return _Fusion(log, memory, parts, kinds, element_bytes, result, causal_tokens).run()


class _Fusion:
    def __init__(
        self,
        log: Log,
        memory: Memory,
        parts: ModuleParts,
        kinds: LayerKinds,
        element_bytes: int,
        result: frozenset[int],
        causal_tokens: int | None,
    ) -> None:
        self.causal_tokens = causal_tokens
        self.memory, self.parts, self.kinds = memory, parts, kinds
        self.element_bytes = element_bytes
        self.weights = set(memory.weights)
        self.calls = self._siblings_together(self._of_activations(log.calls))
        self.last_read = _last_reads(self.calls) | dict.fromkeys(result, len(self.calls))
        self.kernels: list[Kernel] = []
        self.before: Any = None  # the input of the linear layer before, while nothing runs between
        # Modules of experts that send every token to every one of them → the share that is chosen.
        self.crowded: dict[str, float] = {}

    def run(self) -> Fused:
        number = 0
        while number < len(self.calls):
            call = self.calls[number]
            if call.name in MARKS:
                number += 1
                continue
            single = self._single(call)
            end = number if single else self._end_of_group(number)
            kernel = self._kernel(call, single or "elementwise", number, end)
            if single in ("linear", "convolution"):
                self._product(kernel, call)
            else:
                self._group(kernel, number, end)
            number = end + 1
        kept = kept_for_backward(self.kernels, self.calls, self.weights, self.kinds)
        return Fused(self.kernels, self._working_bytes(), kept)

    def _of_activations(self, calls: list[LoggedCall]) -> list[LoggedCall]:
        """The calls without those that read weights alone, whose results are weights as well."""
        found = []
        for call in calls:
            alone = all(use.address in self.weights for use in call.reads)
            if alone and call.reads and call.writes and not call.changes:
                self.weights.update(use.address for use in call.writes)
            else:
                found.append(call)
        return found

    def _siblings_together(self, calls: list[LoggedCall]) -> list[LoggedCall]:
        """The calls with each product behind the first that reads the same input in one module."""
        groups: dict[Any, list[LoggedCall]] = {}
        order: list[list[LoggedCall]] = []
        for call in calls:
            key = self._input_of(call) if self._single(call) == "linear" else None
            if key is None or key not in groups:
                order.append([call])
                if key is not None:
                    groups[key] = order[-1]
            else:
                groups[key].append(call)
        return [call for group in order for call in group]

    def _input_of(self, call: LoggedCall) -> Any:
        """What products have in common that can be one: the module, its input, rows and K."""
        weight, inputs = self._weight(call), self._inputs(call)
        assert weight is not None
        if len(inputs) != 1 or weight.address in self.memory.experts or not call.writes:
            return None
        k, rows = self._sizes(call, weight)[0], call.flops
        scope, part = self.parts.scope_of(call.path), self.parts.part_of(call.path)
        return scope, part, inputs[0].address, k, rows / call.writes[0].shape[-1]

    def _inputs(self, call: LoggedCall) -> list[Use]:
        return [use for use in call.reads if use.address not in self.weights]

    @staticmethod
    def _sizes(call: LoggedCall, weight: Use) -> tuple[int, int]:
        """K and N of the product with a matrix."""
        matrix = weight.shape[-1] * weight.shape[-2]
        n = call.writes[0].shape[-1] if call.writes else weight.shape[-1]
        n = n if matrix % n == 0 else weight.shape[-1]
        return matrix // n, n

    def _single(self, call: LoggedCall) -> str | None:
        """The kind of a call that is a kernel of its own; None for what is fused."""
        if call.family == "attention" and call.name == "attention":
            return "attention"
        weight = self._weight(call)
        if weight is None:
            return None
        if call.family in _PRODUCTS:
            return "linear"
        if call.family == "convolution":
            return "convolution"
        return "embedding" if call.name == "aten::embedding" else None

    def _weight(self, call: LoggedCall) -> Use | None:
        """The matrix among what a call reads."""
        found = [u for u in call.reads if u.address in self.weights and len(u.shape) >= 2]
        return max(found, key=lambda use: use.bytes, default=None)

    def _group_key(self, call: LoggedCall) -> tuple[str, str]:
        return self.parts.part_of(call.path), self.parts.scope_of(call.path)

    def _end_of_group(self, number: int) -> int:
        key, end = self._group_key(self.calls[number]), number
        while end + 1 < len(self.calls):
            following = self.calls[end + 1]
            ends = following.name in MARKS or self._single(following) is not None
            if ends or self._group_key(following) != key:
                break
            end += 1
        return end

    def _kernel(self, call: LoggedCall, kind: str, first: int, last: int) -> Kernel:
        calls = self.calls[first : last + 1]
        self.before = self.before if kind == "linear" else None
        part = self.parts.part_of(call.path)
        inner = [each for each in calls if each.family in (*_PRODUCTS, "attention")]
        path = call.path if kind != "elementwise" else self.parts.scope_of(call.path)
        if kind == "elementwise" and inner and part != "positions":
            kind = "attention"
        kernel = Kernel(
            path=path,
            part=part,
            kind=kind,
            times=self.kinds.times_of(call.path),
            attended=call.attended,
            rows=float(call.attended[2]) if call.attended else _queries(inner),
            flops=sum(self._left(each, part) for each in (inner if kind == "attention" else calls)),
            first=first,
            last=last,
        )
        if kind in ("elementwise", "embedding"):
            kernel.flops = sum(each.other_flops for each in calls)
        self.kernels.append(kernel)
        return kernel

    def _layer_name(self, call: LoggedCall, weight: Use) -> str:
        """The module's, or that of a parameter which is not the one weight of the module."""
        names = self.memory.names.get(weight.address, [])
        if not names or f"{call.path}.weight" in names:
            return call.path
        return names[0].removesuffix(".weight")

    def _left(self, call: LoggedCall, part: str) -> float:
        """FLOPs of a product, of scores and their product with the values as far as a mask leaves.

        Scores are the new tokens by all tokens, which are the last two sizes of what is read or
        written.
        """
        new = self.causal_tokens
        if call.causal or part != "attention" or new is None or new == 1:
            return call.flops
        for use in (*call.writes, *call.reads):
            queries, keys = use.shape[-2:] if len(use.shape) >= 2 else (0, 0)
            if queries == new and keys >= new:
                return call.flops * window_pairs(queries, keys, None) / (queries * keys)
        return call.flops

    def _product(self, kernel: Kernel, call: LoggedCall) -> None:
        """A linear layer or a convolution."""
        weight = self._weight(call)
        assert weight is not None
        inputs = self._inputs(call)
        kernel.paths = [self._layer_name(call, weight)]
        kernel.weight_bytes = sum(u.bytes for u in call.reads if u.address in self.weights)
        written = sum(use.bytes for use in call.writes)
        if kernel.kind == "convolution":
            matrix = weight.bytes / self.element_bytes
            kernel.rows = call.flops / (2 * matrix) if matrix else 0.0
            kernel.k, kernel.n = round(matrix), 1
            self._move(kernel, inputs)
            kernel.activation_bytes += written
            return
        kernel.experts = self.memory.experts.get(weight.address)
        kernel.k, kernel.n = self._sizes(call, weight)
        matrix = kernel.k * kernel.n
        kernel.rows = call.flops / (2 * matrix)
        kernel.activation_bytes = written
        if not self._joined(kernel, call):
            self._move(kernel, inputs)
        if kernel.experts is not None and len(weight.shape) == 3:
            experts, chosen = kernel.experts
            self.crowded[call.path] = chosen / experts
        self._thin_out(kernel)

    def _joined(self, kernel: Kernel, call: LoggedCall) -> bool:
        """Whether the kernel before reads the same input in the same module; then they are one."""
        key = self._input_of(call)
        joined = key is not None and key == self.before
        self.before = key
        if joined:
            first = self.kernels[-2]
            first.paths += kernel.paths
            first.n += kernel.n
            first.flops += kernel.flops
            first.weight_bytes += kernel.weight_bytes
            first.activation_bytes += kernel.activation_bytes
            first.last = kernel.last
            self.kernels.pop()
        return joined

    def _group(self, kernel: Kernel, first: int, last: int) -> None:
        """What a fused kernel reads of memory made outside, and what it leaves."""
        inside: set[int] = set()
        read: dict[int, set[Use]] = {}
        left: dict[int, float] = {}
        for number in range(first, last + 1):
            call = self.calls[number]
            joins = self._joins_cache(call)
            for use in call.reads:
                if joins and use.address not in self.memory.cache:  # what is joined is written
                    self._add_cache(kernel, call.writes[0].address, use.bytes)
                if use.address in inside or (joins and use.address in self.memory.cache):
                    continue
                read.setdefault(use.address, set()).add(use)
            for use in (*call.writes, *call.changes):
                known = use.address in self.memory.cache
                if known and not joins:
                    self._add(kernel, use, use.bytes)
                elif not known and use.address not in self.weights:
                    left[use.address] = max(left.get(use.address, 0.0), use.bytes)
            if not joins:  # a cache is read from memory, whoever has just made it longer
                inside |= {use.address for use in (*call.writes, *call.changes)}
        for parts in read.values():
            looked_up = kernel.kind == "embedding"  # a row for each token, however few there are
            moved = sum(use.bytes for use in parts) if looked_up else bytes_of_parts(parts)
            self._add(kernel, next(iter(parts)), moved)
        for address, size in left.items():
            if self.last_read.get(address, -1) > last:
                kernel.activation_bytes += size
        self._thin_out(kernel)

    def _thin_out(self, kernel: Kernel) -> None:
        """Of experts that all read every token, what those do that were chosen."""
        share = self.crowded.get(kernel.path)
        if share is not None:
            kernel.rows *= share
            kernel.flops *= share
            kernel.activation_bytes *= share

    def _joins_cache(self, call: LoggedCall) -> bool:
        """Whether a call makes a longer cache of the cache and what is new."""
        return call.name == "aten::cat" and any(
            use.address in self.memory.cache for use in call.writes
        )

    def _move(self, kernel: Kernel, uses: list[Use]) -> None:
        for use in uses:
            self._add(kernel, use, use.bytes)

    def _add(self, kernel: Kernel, use: Use, moved: float) -> None:
        """Bytes to what a piece of memory is."""
        if use.address in self.memory.cache:
            self._add_cache(kernel, use.address, moved)
        elif use.address in self.weights and kernel.kind != "embedding":
            kernel.weight_bytes += moved
        else:
            kernel.activation_bytes += moved

    def _add_cache(self, kernel: Kernel, address: int, moved: float) -> None:
        if self.memory.cache[address] == self.element_bytes:
            kernel.cache_bytes += moved
        else:
            kernel.states_bytes += moved

    def _working_bytes(self) -> float:
        """Activations at the fullest moment of a run op by op."""
        sizes: dict[int, int] = {}
        ends: dict[int, list[int]] = {}
        alive = most = 0.0
        for number, call in enumerate(self.calls):
            for use in call.writes:
                end = self.last_read.get(use.address, number)
                if use.address not in self.memory.cache and use.address not in sizes:
                    sizes[use.address] = use.storage_bytes
                    ends.setdefault(max(end, number), []).append(use.address)
                    alive += use.storage_bytes
            most = max(most, alive)
            alive -= sum(sizes[address] for address in ends.get(number, []))
        return most


def _queries(products: list[LoggedCall]) -> float:
    """Rows of products of activations, as of scores; of the smallest, in a scan a step."""
    return float(min((each.writes[0].shape[-2] for each in products if each.writes), default=0))


def _last_reads(calls: list[LoggedCall]) -> dict[int, int]:
    return {
        use.address: number
        for number, call in enumerate(calls)
        for use in (*call.reads, *call.changes)
    }
