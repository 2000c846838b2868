"""`topout cost layers`: a named model layer by layer, its tree and its graph, without weights."""

from typing import Any

from torch import nn

from topout.import_path import names_own_code
from topout.models.architectures.read import find_config
from topout.models.hub import offline
from topout.models.own_module import own_module
from topout.models.precision import Precision, dtype_name, precision_of, stated_dtype
from topout.models.structure.build import (
    Head,
    build_on_meta,
    example_inputs,
    quiet_transformers,
)
from topout.models.structure.graph import graph_of
from topout.models.structure.layers import layers_of
from topout.models.structure.recorder import record_forward
from topout.models.structure.recording import Recording
from topout.options import takes
from topout.records import GraphPort, LayersReport
from topout.records.record import stamp
from topout.verbs.cost_request import LayersRequest, refuse_for_own_code, refuse_inputs


def report_layers(
    config_json: dict[str, Any],
    name: str,
    *,
    batch_size: int = 1,
    length: int | None = None,
    depth: int | None = None,
    expand: bool = False,
    dtype: str | None = None,
    published_dtype: str | None = None,
    head: Head | None = None,
) -> LayersReport:
    """What `topout cost layers` answers for a model of transformers, without its weights.

    `length` in tokens, of text models; `depth` bounds how deep layers are told; `expand` keeps
    equal blocks of the graph apart; `head` is another than the config's class has. Without a
    `dtype` it is that of publication, by default the one that the config states. A forward pass
    that fails stands in the record, with the op that failed. Raises InputError and
    UnsupportedError as `precision_of`, `build_on_meta`, `example_inputs` and `layers_of` do.
    """
    precision = precision_of(name, published_dtype or stated_dtype(config_json, name), dtype)
    module = build_on_meta(config_json, name, precision.dtype, head)
    recording = _first_that_runs(module, batch_size, length)
    return _report(name, module, precision, recording, depth, expand)


def report_own_layers(
    name: str, inputs: list[str], *, depth: int | None = None, expand: bool = False
) -> LayersReport:
    """The same for a module of the user's own; raises what `own_module` and `layers_of` raise."""
    own = own_module(name, inputs)
    with offline():
        recording = record_forward(own.module, *own.arguments, **own.keywords)
    tensors = [each for each in own.module.parameters() if each.is_floating_point()]
    stored = str(tensors[0].dtype).removeprefix("torch.") if tensors else "float32"
    precision = Precision(dtype_name(stored), "as the module makes it")
    return _report(name, own.module, precision, recording, depth, expand)


def _report(
    name: str,
    module: nn.Module,
    precision: Precision,
    recording: Recording,
    depth: int | None,
    expand: bool,
) -> LayersReport:
    failure = recording.failure
    return LayersReport(
        **stamp(),
        model=name,
        class_name=type(module).__name__,
        dtype=precision.dtype,
        dtype_origin=precision.origin,
        inputs=[GraphPort(name=each, shape=list(shape)) for each, shape, _ in recording.inputs],
        layers=layers_of(recording, depth),
        graph=None if failure is not None else graph_of(recording, expand),
        reasons={}
        if failure is None
        else {"graph": f"{failure.layer} could not be traced past {failure.op}."},
    )


def _first_that_runs(module: nn.Module, batch_size: int, length: int | None) -> Recording:
    """A recording without failure; else that of the first inputs."""
    recordings = []
    for inputs in example_inputs(module, batch_size, length):
        with quiet_transformers(), offline():
            recordings.append(record_forward(module, **inputs))
        if recordings[-1].failure is None:
            return recordings[-1]
    return recordings[0]


@takes(LayersRequest)
def list_layers(request: LayersRequest) -> LayersReport:
    """The layers of what a user names: a folder, a config.json, a name, a hub id, or own code.

    Raises what `find_config`, `report_layers` and `report_own_layers` raise.
    """
    if names_own_code(request.model):
        refuse_for_own_code(request, "batch_size", "length", "dtype", "head")
        return report_own_layers(
            request.model, request.input, depth=request.depth, expand=request.expand
        )
    refuse_inputs(request.input)
    found = find_config(request.model)
    return report_layers(
        found.config_json,
        found.name,
        batch_size=request.batch_size,
        length=request.length,
        depth=request.depth,
        expand=request.expand,
        dtype=request.dtype,
        published_dtype=found.published_dtype,
        head=request.head,
    )
