"""Names of parts: a number is a layer only where its neighbours are of the same class."""

from topout.profiling.regions import Parts

DECODER = {
    "Decoder": "Decoder",
    "blocks.0": "Block",
    "blocks.0.mlp.up": "Linear",
    "blocks.1": "Block",
    "blocks.1.mlp.up": "Linear",
    "head": "Linear",
}


def test_layers_of_a_stack_are_one() -> None:
    parts = Parts(DECODER)
    assert parts.part("blocks.0.mlp.up") == parts.part("blocks.1.mlp.up") == "mlp.up"
    assert parts.general("blocks.1.mlp.up") == "blocks.*.mlp.up"
    assert parts.part("blocks.1") == "blocks.*"
    assert parts.part("head") == "head"


def test_different_modules_in_a_row_are_no_stack() -> None:
    parts = Parts({"0": "Linear", "1": "GELU", "2": "Linear"})
    assert [parts.part(name) for name in ("0", "1", "2")] == ["0", "1", "2"]


def test_a_number_alone_keeps_its_stack() -> None:
    types = {"net.0": "Sequential", "net.1": "Sequential"}
    types |= {f"net.{i}.{j}": kind for i in (0, 1) for j, kind in enumerate(("Linear", "GELU"))}
    assert Parts(types).part("net.1.0") == "net.*.0"


def test_two_stacks_keep_their_names() -> None:
    types = {f"{side}.{i}": "Layer" for side in ("encoder", "decoder") for i in (0, 1)}
    types |= {f"{side}.{i}.up": "Linear" for side in ("encoder", "decoder") for i in (0, 1)}
    parts = Parts(types)
    assert parts.part("encoder.1.up") == "encoder.*.up"


def test_what_is_no_module_keeps_its_name() -> None:
    assert Parts(DECODER).part("Optimizer.step#AdamW.step") == "Optimizer.step#AdamW.step"
    assert Parts(DECODER).part("my.own.0.region") == "my.own.0.region"
