"""Rules of kernel groups: real names, their order, a user's own file, and faults in it."""

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trace.analysis.kernel_names import LIBRARIES, NOT_COMMUNICATION, published
from topout.errors import InputError, UnknownNameError
from topout.trace.analysis.groups import (
    COMMUNICATION,
    OTHER,
    Rules,
    for_operators,
    group_of,
    load_rules,
    shipped_rules,
    with_groups,
)
from topout.trace.table import with_all_columns

DEFAULT = load_rules()
COARSE = shipped_rules("coarse_groups")

# Names of kernels as profilers print them; long argument lists are cut.
NAMES = {
    "matrix-mul": [
        "volta_sgemm_128x64_nn",
        "ampere_fp16_s1688gemm_fp16_128x128_ldg8_f2f_stages_32x1_nn",
        "sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x128x16_stage4_warpsize2x2x1_tensor16x8x8",
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64_warpgroupsize1x1x1",
        "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_nn>",
        "void cutlass::Kernel<cutlass_80_wmma_tensorop_f16_s161616gemm_f16_16x16_128x2_tn_align8>",
        "nvjet_hsh_256x128_64x4_1x2_h_bz_coopA_NNT",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, float, float, false, true>",
        "void splitKreduce_kernel<32, 16, int, __nv_bfloat16, __nv_bfloat16, float>",
        "void gemv2T_kernel_val<int, int, float, float, float, float, 128, 16, 4, 4, false>",
        "void gemvx::kernel<int, int, float, float, float, float, false, true, true>",
        "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 10, 11, false>",
        "Cijk_Ailk_Bljk_BBS_BH_Bias_HAS_SAV_UserArgs_MT256x224x64_MI16x16x1",
        "Cijk_Alik_Bljk_SB_MT64x96x16_SE_K1.kd",
        "triton_tem_fused_addmm_relu_0",
        "triton_mm",
        "maxwell_sgemm_128x64_raggedMn_tn",
        "turing_h1688gemm_128x128_ldg8_nn",
    ],
    "convolution": [
        "void implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1, true, false, true>",
        "volta_scudnn_128x64_relu_interior_nn_v1",
        "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nchw_tilesize128x128x16",
        "sm86_xmma_wgrad_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc",
        "cutlass__5x_cudnn::Kernel<cutlass_tensorop_f16_s16816dgrad_optimized_f16_256x64_32x4_nhwc>",
        "void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>",
        "void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float, int>",
        "void at::native::im2col_kernel<float>(long, float const*, long, long)",
        "miopenSp3AsmConv_v21_1_2_gfx9_fp32_f2x3_stride1",
        "igemm_fwd_gtcx2_nhwc_bf16_bx0_ex0_bt256x256x32",
    ],
    "attention": [
        "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, "
        "false, false, cutlass::half_t, pytorch_flash::Flash_kernel_traits<64>>>",
        "void flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits<64, "
        "cutlass::bfloat16_t>>",
        "fmha_cutlassF_f32_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<float>::Params)",
        "fmha_cutlassB_f16_aligned_128x64_k65536_sm80",
        "cudnn_generated_fort_native_sdpa_sm80_flash_fprop_wmma_f16_knob_7_64x64x64_4x1x1_kernel0_0",
        "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<128>>>",
        "void vllm::paged_attention_v2_kernel<unsigned short, unsigned short, 128, 16>",
        "_attn_fwd",
        "attn_fwd.kd",
        "triton_tem_fused_flex_attention_2",
        "void ck_tile::kentry<ck_tile::FmhaFwdKernel<ck_tile::BlockFmhaPipeline>>",
    ],
    "softmax": [
        "void (anonymous namespace)::softmax_warp_forward<float, float, float, 9, false, false>",
        "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float, "
        "at::native::(anonymous namespace)::LogSoftMaxForwardEpilogue>",
        "void cudnn::ops::softmax_fw_kernel<1, float, float, 256, 1>",
        "triton_per_fused__softmax_add_3",
    ],
    "loss": [
        "void at::native::(anonymous namespace)::nll_loss_forward_reduce_cuda_kernel_2d<float>"
    ],
    "normalization": [
        "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>",
        "void at::native::(anonymous namespace)::GammaBetaBackwardCUDAKernel_32x32<float, float>",
        "void at::native::(anonymous namespace)::layer_norm_grad_input_kernel_vectorized<float>",
        "void at::native::batch_norm_collect_statistics_kernel<at::native::InvStd, float, float>",
        "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1, true>",
        "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<float>",
        "void vllm::rms_norm_kernel<c10::BFloat16>",
        "triton_red_fused_add_native_layer_norm_5",
        "triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0",
        "MIOpenBatchNormFwdTrainSpatial",
    ],
    "element-wise": [
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
        "void at::native::unrolled_elementwise_kernel<at::native::GeluCUDAKernelImpl<float>>",
        "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast>",
        "void at::native::vectorized_elementwise_kernel",
        "triton_poi_fused_add_gelu_0",
        "void vllm::act_and_mul_kernel<c10::Half, &vllm::silu_kernel>",
        "void kernelPointwiseApply2<TensorAddOp<float>, float, float, unsigned int, -2, -2>",
        "void cudnn::ops::op_tensor_kernel<float>",
        "fused_mul_add_sigmoid",
        "void (anonymous namespace)::elementwise_kernel_with_index<int, arange_cuda_out>",
        "triton_poi_fused_convolution_relu_0",
        "triton_poi_fused__scaled_dot_product_flash_attention_1",
        "void vllm::rotary_embedding_kernel<c10::BFloat16, true>",
    ],
    "reduction": [
        "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps>>",
        "void cub::DeviceReduceSingleTileKernel<cub::DeviceReducePolicy<float>>",
        "triton_red_fused_mean_0",
        "triton_per_fused_sum_2",
        "triton_red_fused_convolution_backward_threshold_backward_3",
    ],
    "indexing": [
        "void at::native::index_elementwise_kernel<128, 4, at::native::gpu_index_kernel>",
        "void at::native::(anonymous namespace)::indexSelectLargeIndex<float, long, unsigned int>",
        "void at::native::vectorized_gather_kernel<16, long>",
        "void at::native::_scatter_gather_elementwise_kernel<128, 8, at::native::_cuda_scatter>",
        "void at::native::(anonymous namespace)::embedding_backward_feature_kernel<float, float>",
        "void at::native::(anonymous namespace)::compute_grad_weight<float, long>",
    ],
    "sort and scan": [
        "void at::native::bitonicSortKVInPlace<2, -1, 16, 16, float, long>",
        "void at::native::sbtopk::gatherTopK<float, unsigned int, 2, false>",
        "void at_cuda_detail::cub::DeviceRadixSortOnesweepKernel<float>",
        "void at::native::tensor_kernel_scan_innermost_dim<float, std::plus<float>>",
        "void at_cuda_detail::cub::DeviceScanKernel<int>",
    ],
    "random and dropout": [
        "void at::native::(anonymous namespace)::fused_dropout_kernel_vec<float, float>",
        "void at::native::(anonymous namespace)::distribution_elementwise_grid_stride_kernel<T>",
        "void at::native::vectorized_elementwise_kernel<4, at::native::masked_scale_kernel<float>>",
    ],
    "optimizer": [
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<TensorListMetadata<4>, "
        "at::native::FusedAdamMathFunctor<float, 4>>",
        "void multi_tensor_apply_kernel<TensorListMetadata<4>, AdamFunctor<float, float, int>>",
        "triton_for_fused_0",
    ],
    "copy kernels": [
        "void at::native::(anonymous namespace)::CatArrayBatchedCopy_aligned16_contig<float, 1>",
        "unrolled_elementwise_kernel (copy_device_to_device)",
        "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>",
        "void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda>",
        "void at::native::unrolled_elementwise_kernel<at::native::bfloat16_copy_kernel_cuda>",
        "void cudnn::ops::nchwToNhwcKernel<float, float, float, true, false>",
        "__amd_rocclr_copyBuffer.kd",
    ],
    "communication": [
        "ncclReduceRingLLKernel_sum_f32(ncclColl)",
        "ncclKernel_AllReduce_RING_LL_Sum_float(ncclDevComm*, unsigned long, ncclWork*)",
        "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::cross_device_reduce_1stage<__half, 4>",
    ],
    OTHER: ["my_own_kernel(float*, int)", "void spmm_kernel<float>", "set_property_sample_", ""],
}
OPERATORS = [
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
    ("vllm::all_reduce", "communication"),
    ("autograd::engine::evaluate_function: AddmmBackward0", "framework"),
    ("Optimizer.step#AdamW.step", "framework"),
    ("aten::a_new_one", "other"),
    ("mymodule::mm_of_mine", "other"),
]
RULES = for_operators(load_rules())
KNOWN = [
    *((group, name) for group, names in NAMES.items() for name in names),
    *((group, name) for group, names in LIBRARIES.items() for name in names),
    *((group, name) for group, name in published() if group != NOT_COMMUNICATION),
]


def rivals(rules: Rules, name: str, kind: str = "kernel") -> list[str]:
    """The groups that rules of the deciding rank claim a name for: one, unless the rules err."""
    fitting = list(rules.fitting(name, kind))
    return sorted({rule.group for rule in fitting if rule.rank == fitting[0].rank})


@pytest.mark.parametrize(("group", "name"), KNOWN)
def test_real_names_fall_where_they_belong(group: str, name: str) -> None:
    assert DEFAULT.group_of(name) == group


def test_every_group_has_an_example_here() -> None:
    missing = set(DEFAULT.groups) - {group for group, _ in KNOWN}
    assert missing == {"memory"}


def test_copies_and_fills_go_by_kind() -> None:
    assert DEFAULT.group_of("[CUDA memcpy HtoD]", "memcpy") == "memory"
    assert DEFAULT.group_of("Memset (Device)", "memset") == "memory"
    assert DEFAULT.group_of("[CUDA memcpy PtoP]", "memcpy") == "communication"
    assert DEFAULT.group_of("[CUDA memcpy Peer-to-Peer]", "memcpy") == "communication"
    assert DEFAULT.group_of("my_memcpy_free_gemm", "kernel") == "matrix-mul"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("volta_sgemm_32x128_tn", "matrix-mul"),
        ("ncclReduceRingLLKernel_sum_f32(ncclColl)", "memory_mgmt"),
        ("unrolled_elementwise_kernel (copy_device_to_device)", "custom_ops"),
        ("void at::native::reduce_kernel<512>", "custom_ops"),
        ("triton_poi_fused_add_0", "custom_ops"),
        ("gemv2T_kernel_val", OTHER),
    ],
)
def test_the_coarse_view(name: str, group: str) -> None:
    assert COARSE.group_of(name) == group


def test_the_coarse_view_counts_all_copies_as_memory() -> None:
    for way in ("HtoD", "DtoD", "PtoP"):
        assert COARSE.group_of(f"[CUDA memcpy {way}]", "memcpy") == "memory_mgmt"


def test_names_in_a_row() -> None:
    assert group_of(["volta_sgemm_32x128_tn", "x", "x"]) == ["matrix-mul", OTHER, OTHER]
    assert group_of(["gemv2T"], COARSE) == [OTHER]


def test_groups_of_events() -> None:
    events = with_all_columns(
        pl.DataFrame(
            {
                "start_ns": [0, 1, 2, 3, 4],
                "duration_ns": [1] * 5,
                "kind": ["kernel", "memcpy", "cpu_op", "kernel", "kernel"],
                "name": ["sgemm", "sgemm", "sgemm", "sgemm", None],
                "device": [0, 0, -1, 1, 0],
            }
        )
    )
    grouped = with_groups(events, DEFAULT)
    assert grouped["group"].to_list() == ["matrix-mul", "memory", None, "matrix-mul", OTHER]
    assert grouped.drop("group").equals(events)


OWN = """
[[rule]]
group = "sparse"
names = ["SPMM"]
patterns = ['^my_[a-z]+_kernel']
"""


def test_own_rules_come_before_the_default_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    rules = load_rules(path)
    assert rules.source == str(path)
    assert rules.group_of("void spmm_gemm_kernel<float>") == "sparse"
    assert rules.group_of("My_Own_kernel(float*)") == "sparse"
    assert rules.group_of("sgemm") == "matrix-mul"


def test_own_rules_can_come_before_the_coarse_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    rules = load_rules(path, "coarse_groups")
    assert rules.groups == ["sparse", "memory_mgmt", "matrix-mul", "custom_ops", OTHER]


def test_own_rules_can_be_all_there_are(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("extends = false\n" + OWN)
    rules = load_rules(path)
    assert rules.groups == ["sparse", OTHER]
    assert rules.group_of("sgemm") == OTHER


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[[rule]\n", "own.toml is not TOML"),
        ("", "own.toml: Object missing required field `rule`"),
        ("rules = []\n", "own.toml: Object contains unknown field `rules`"),
        (OWN + "[[rule]]\nnames = ['x']\n", "rule 2: object missing required field `group`"),
        (
            OWN + "[[rule]]\ngroup = 'a'\nname = 'x'\n",
            "rule 2: object contains unknown field `name`",
        ),
        ("[[rule]]\ngroup = 'a'\nnames = 'x'\n", "rule 1: expected `array`, got `str` in `names`"),
        ("[[rule]]\ngroup = 'a'\nnames = [1]\n", "rule 1: expected `str`, got `int` in `names`"),
        ("[[rule]]\ngroup = 'a'\nkinds = ['cpu']\n", "rule 1: invalid enum value 'cpu' in `kinds`"),
        ("[[rule]]\ngroup = 'a'\n", "rule 1 ('a') has none of `kinds`, `names` and `patterns`"),
        ("[[rule]]\ngroup = ''\nnames = ['x']\n", "rule 1 (''): `group` cannot be a name"),
        ("[[rule]]\ngroup = '<b>'\nnames = ['x']\n", "rule 1 ('<b>'): `group` cannot be a name"),
        ("[[rule]]\ngroup = 'a'\nnames = ['']\n", "rule 1 ('a'): `names` has an empty text"),
        ("[[rule]]\ngroup = 'a'\npatterns = ['(']\n", "rule 1 ('a'): `patterns` has '('"),
    ],
)
def test_faults_name_file_rule_and_field(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        load_rules(path)
    assert "own.toml" in caught.value.message
    assert caught.value.remedy


def test_rules_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read"):
        load_rules(tmp_path / "none.toml")
    with pytest.raises(UnknownNameError, match="coarse_groups"):
        shipped_rules("coarse")


@given(st.text(max_size=80), st.sampled_from(["kernel", "memcpy", "memset"]))
def test_any_name_has_one_group(name: str, kind: str) -> None:
    assert DEFAULT.group_of(name, kind) in DEFAULT.groups
    assert COARSE.group_of(name, kind) in COARSE.groups


@pytest.mark.parametrize(("name", "group"), OPERATORS)
def test_groups_of_operators(name: str, group: str) -> None:
    assert group_of([name], RULES) == [group]


def test_names_that_speak_of_collectives_are_none() -> None:
    names = [name for group, name in published() if group == NOT_COMMUNICATION]
    assert len(names) == 2
    assert COMMUNICATION not in group_of(names)


@pytest.mark.parametrize("rules", [DEFAULT, COARSE, shipped_rules("operator_groups")])
def test_no_two_rules_of_one_rank_claim_a_name(rules: Rules) -> None:
    names = [name for _, name in KNOWN] + [name for _, name in published()]
    names += [name for name, _ in OPERATORS]
    assert {name: found for name in names if len(found := rivals(rules, name)) > 1} == {}
    copies = ("[CUDA memcpy PtoP]", "[CUDA memcpy HtoD]", "Memset (Device)")
    for kind in ("memcpy", "memset"):
        assert all(len(rivals(rules, name, kind)) < 2 for name in copies)


def test_the_test_of_ranks_sees_a_conflict(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    rule = "[[rule]]\ngroup = '{}'\nrank = {}\nnames = ['{}']\n"
    path.write_text(rule.format("a", 2, "gemm") + rule.format("b", 2, "sgemm"))
    assert rivals(load_rules(path), "volta_sgemm_128x64_tn") == ["a", "b"]
    path.write_text(rule.format("a", 2, "gemm") + rule.format("b", 1, "sgemm"))
    assert rivals(load_rules(path), "volta_sgemm_128x64_tn") == ["b"]


def test_the_lowest_rank_decides_whatever_the_order(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        "[[rule]]\ngroup = 'general'\nrank = 9\nnames = ['gemm']\n"
        "[[rule]]\ngroup = 'special'\nrank = 3\nnames = ['sgemm']\n"
    )
    rules = load_rules(path)
    assert rules.group_of("volta_sgemm_128x64_tn") == "special"
    assert rules.group_of("volta_hgemm_128x64_tn") == "general"  # before all shipped rules


@pytest.mark.parametrize(("group", "name"), KNOWN)
def test_both_views_agree_on_what_communicates(group: str, name: str) -> None:
    assert (COARSE.group_of(name) == "memory_mgmt") == (group == COMMUNICATION)


def test_a_coarse_view_breaks_the_time_down_by_the_fine_rules(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[[rule]]\ngroup = 'communication'\nnames = ['my_ring']\n")
    assert load_rules(path).of_time is None
    of_time = load_rules(path, "coarse_groups").of_time
    assert of_time is not None
    assert of_time.group_of("my_ring<4>") == COMMUNICATION
    assert of_time.group_of("softmax") == "softmax"
    assert COARSE.of_time == DEFAULT
