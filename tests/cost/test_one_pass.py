"""The ops of one pass: those of the formulas, or as many FLOPs as were counted."""

import msgspec
import pytest

from topout.cost.one_pass import one_pass_ops
from topout.cost.ops import product_flops
from topout.cost.phases import Plan, forward
from topout.models.architectures.read import read_architecture
from topout.models.known import known_config_json
from topout.models.pass_config import PassConfig
from topout.records import CostWorkload


def config_of(name: str, image_size: int = 0) -> PassConfig:
    shape = read_architecture(known_config_json(name), name)
    return PassConfig(
        name=name,
        architecture=shape.model_type,
        class_name=shape.counted_as,
        takes="images" if image_size else "tokens",
        parameters=1000,
        layers=12,
        width=shape.width,
        heads=12,
        vocab_size=0 if image_size else 30522,
        context_len=0 if image_size else 512,
        channels=3 if image_size else 0,
        image_size=image_size,
        outputs=0,
        digest="",
        shape=shape,
    )


@pytest.mark.parametrize(("name", "image_size"), [("bert-base-uncased", 0), ("resnet-50", 224)])
def test_a_pass_is_what_cost_counts_as_forward(name: str, image_size: int) -> None:
    config = config_of(name, image_size)
    assert config.shape is not None
    workload = CostWorkload(
        batch_size=3,
        prompt_len=128,
        context_len=128,
        dtype="fp32",
        weight_dtype="fp32",
        kv_dtype="fp32",
    )
    phase = forward(Plan(architecture=config.shape, workload=workload))
    assert product_flops(one_pass_ops(config, 3, 128)) == phase.model_flops


def test_what_no_formula_is_of_takes_as_many_flops_as_were_counted() -> None:
    config = msgspec.structs.replace(config_of("bert-base-uncased"), shape=None)
    counted = msgspec.structs.replace(config, counted_flops=8000.0)
    (op,) = one_pass_ops(counted, 2, 128)
    assert op.flops == 16000 and op.weight_elements == 1000
    assert op.rows == 8  # 2 · 8 rows · 1000 weights are the FLOPs
