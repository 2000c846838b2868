"""torch.jit.trace of a pass: one graph that TorchScript runs, instead of a call for each op."""

import warnings

import torch
from torch import Tensor, nn

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.generation.pass_session import Pass
from topout.rungs.rung import Rung


class Trace(Rung):
    """Records the ops of one pass and runs them without Python."""

    name = "trace"
    change = "torch.jit.trace and freeze: the ops of a pass in one graph, without Python between"
    tasks = ("forward",)
    excludes = ("compile",)

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """About the overhead of the plain decoder: that of the ops without that of the modules."""
        return expectation.replace(mode="decoder_eager")

    def transform_pass(self, call: Pass, build: Build) -> Pass:
        """Trace at the first call, whose input has the shape of all."""
        return TracedPass(call)


class TracedPass:
    """A pass that is traced with its first input and runs that graph from then on."""

    def __init__(self, call: Pass) -> None:
        self._call = call
        self._graphs: dict[torch.Size, Pass] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """x as the call takes it → what it gives; one graph per shape."""
        graph = self._graphs.get(x.shape)
        if graph is None:
            graph = self._graphs[x.shape] = _traced(self._call, x)
        return graph(x)


def _traced(call: Pass, x: Tensor) -> Pass:
    assert isinstance(call, nn.Module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that become constants: shapes never change
        graph = torch.jit.trace(call, x, check_trace=False)  # type: ignore[no-untyped-call]
        frozen: Pass = torch.jit.freeze(graph)
    return frozen
