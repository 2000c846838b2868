"""Operators of the host fall into the groups that kernels have."""

import pytest

from topout.trace.analysis.groups import for_operators, group_of, load_rules

RULES = for_operators(load_rules())


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::addmm", "matrix-mul"),
        ("aten::linear", "matrix-mul"),
        ("aten::bmm", "matrix-mul"),
        ("aten::_int_mm", "matrix-mul"),
        ("mkldnn::_linear_pointwise", "matrix-mul"),
        ("aten::copy_", "memory"),
        ("aten::_to_copy", "memory"),
        ("aten::mul", "element-wise"),
        ("aten::add_", "element-wise"),
        ("aten::sum", "reduction"),
        ("aten::embedding", "indexing"),
        ("aten::normal_", "random and dropout"),
        ("aten::_foreach_add_", "optimizer"),
        ("aten::scaled_dot_product_attention", "attention"),
        ("aten::native_layer_norm", "normalization"),  # by the rules for kernels
        ("c10d::allreduce_", "communication"),
        ("record_param_comms", "communication"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "framework"),
        ("Optimizer.step#AdamW.step", "framework"),
        ("aten::a_new_one", "other"),
        ("mymodule::mm_of_mine", "other"),
    ],
)
def test_groups_of_operators(name: str, group: str) -> None:
    assert group_of([name], RULES) == [group]
