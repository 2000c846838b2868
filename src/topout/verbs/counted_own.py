"""A module of the user's own, counted by running it once on the meta device."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from topout.cost.counted import Backward, Counting
from topout.cost.graph.module_count import ModuleCount, Run
from topout.cost.ops import Op
from topout.errors import InputError, UnsupportedError, told
from topout.models.architecture import Architecture, Counted
from topout.models.hub import offline
from topout.models.own_module import OwnModule, own_module
from topout.models.precision import Precision, dtype_name, precision_of
from topout.models.structure.build import DTYPES
from topout.models.structure.stand_ins import StandIns, standing_in


def counted_own(
    name: str, inputs: list[str], dtype: str | None
) -> tuple[Architecture, Precision, Counting]:
    """What `own_module` names, its precision, and what counts a pass of it.

    In `dtype` where one is asked for, parameters and inputs alike. Raises what `own_module` raises,
    InputError for code that fails, UnsupportedError for what does not run on shapes alone.
    """
    own = own_module(name, inputs)
    made = _made_in(own)
    precision = precision_of(name, made, dtype)
    if precision.dtype != made:
        own = _in_dtype(own, DTYPES[precision.dtype])
    elif dtype is None:
        precision = Precision(made, "as the module makes it")
    counting = OwnPasses(name, own)
    return counting.architecture(made), precision, counting


class OwnPasses(Counting):
    """Counts the one pass that there is: that of the inputs that were given."""

    def __init__(self, name: str, own: OwnModule) -> None:
        self.name = name
        self.own = own
        self.count = ModuleCount(own.module, sees=False)
        self.run = self._ran()
        leaves = tree_leaves((own.arguments, own.keywords))
        shapes = [leaf.shape for leaf in leaves if isinstance(leaf, Tensor)]
        self.samples = next((shape[0] for shape in shapes if len(shape)), 1)

    def _ran(self) -> Run:
        kernels, own = self.count.kernels, self.own
        try:
            with (
                offline(),
                torch.no_grad(),
                standing_in(own.module, StandIns(kernels.attention, kernels.mask, kernels.experts)),
            ):
                return self.count.run(lambda: own.module(*own.arguments, **own.keywords), _nothing)
        except NotImplementedError as error:
            raise UnsupportedError(
                f"{self.name} does not run on shapes alone ({told(error)}).",
                "`topout.cost.graph.count` counts it on real tensors.",
            ) from error
        except Exception as error:  # whatever the user's code raises
            raise InputError(
                f"{self.name}: its forward pass raised {told(error)}.",
                "Check the shapes of --input; what depends on values does not run on shapes alone.",
            ) from error

    def prefill(self, batch_size: int, length: int) -> list[Op]:
        """Not there: the module is no decoder that is known."""
        raise NotImplementedError

    def decode(self, batch_size: int, context_len: int, source_len: int) -> list[Op]:
        """Not there either."""
        raise NotImplementedError

    def forward(self, batch_size: int, length: int) -> list[Op]:
        """The pass of the inputs as they were given, whatever is asked for."""
        return self.count.ops(self.run.fused)

    def backward(self, batch_size: int, length: int) -> Backward:
        """What the backward of that pass needs; its output stands for the logits."""
        outputs = [leaf for leaf in tree_leaves(self.run.result) if isinstance(leaf, Tensor)]
        kept = self.run.fused.kept
        kept.logits = outputs[0].numel() if outputs else 0
        inputs = tree_leaves((self.own.arguments, self.own.keywords))
        read = sum(leaf.numel() for leaf in inputs if isinstance(leaf, Tensor))
        return self.count.backward(kept, self.samples, read)

    def architecture(self, dtype: str) -> Architecture:
        """Its parameters, and what it is called."""
        return Architecture(
            name=self.name,
            model_type="own code",
            kind="module",
            counted_as=type(self.own.module).__name__,
            width=0,
            published_dtype=dtype,
            samples=self.samples,
            not_counted=sorted(f"{each}." for each in self.run.log.unknown),
            counted=Counted(
                parameters_by_part=self.count.parameters_by_part(),
                idle_parameters=self.count.idle_parameters(),
                layers=sum(1 for each in self.own.module.modules() if not list(each.children())),
                heads=None,
                kv_heads=None,
                working_per_token=self.run.fused.working_bytes
                / (self.count.element_bytes * self.samples),
            ),
        )


def _nothing(_: Any) -> list[Tensor]:
    """What a pass leaves for the next one."""
    return []


def _made_in(own: OwnModule) -> str:
    kinds = [each.dtype for each in own.module.parameters() if each.is_floating_point()]
    return dtype_name(str(kinds[0])) if kinds else "fp32"


def _in_dtype(own: OwnModule, dtype: torch.dtype) -> OwnModule:
    def converted(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    arguments, keywords = tree_map_only(Tensor, converted, (own.arguments, own.keywords))
    return OwnModule(own.module.to(dtype), arguments, keywords)
