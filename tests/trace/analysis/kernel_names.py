"""Names of kernels as profilers print them, by the group they belong to; long ones are cut.

`published` are those of a list that was collected from public traces and sources.
"""

from collections.abc import Iterator
from pathlib import Path

STATE_SPACE = "state-space scan"
NOT_COMMUNICATION = "not-comm"  # of `published`: anything but communication
_FILE = Path(__file__).parents[1] / "cases" / "kernel_names.txt"
_GROUPS = {"scan/ssm": STATE_SPACE}


def published() -> Iterator[tuple[str, str]]:
    """(group, name) of each line; the group may be NOT_COMMUNICATION."""
    for line in _FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            group, _, name = line.partition("|")
            yield _GROUPS.get(group, group), name


# Beside those of the published list and of `NAMES` in test_groups.py.
LIBRARIES = {
    "communication": [
        "ncclDevKernel_Broadcast_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::quickreduce::allreduce_prototype_twoshot<AllReduceTwoshot<__half>>",
        "void two_shot_all_reduce_kernel_inplace<c10::BFloat16, 16, 8>",
        "void multimem_all_reduce_kernel<c10::BFloat16, 16>",
        "void tensorrt_llm::kernels::twoShotAllReduceKernel<__nv_bfloat16, 8, false>",
        "void tensorrt_llm::kernels::ar_fusion::allreduce_fusion_kernel_oneshot_lamport<>",
        "void deep_ep::internode_ll::combine<true, 7168, 9>(void*, void*, int*)",
        "_ZN7deep_ep9intranode7combineI13__nv_bfloat16Li8EEEvPT_PfPKS2_",
        "nvshmemi_transfer_rma_nbi",
        "void userbuffers_fp16_sum_inplace_gpu_rr_ag<8>(int, int, int)",
        "all-reduce.1",
        "all-gather-start.3",
        "reduce-scatter.7",
        "collective-permute-start",
        "all_to_all_kernel<4>",
    ],
    "attention": [
        "void flashinfer::SinglePrefillWithKVCacheKernel<flashinfer::KernelTraits<>>",
        "void flashinfer::PersistentVariableLengthMergeStatesKernel<8, 16, 4, 4>",
        "void vllm::merge_attn_states_kernel<__nv_bfloat16, unsigned int, 128>",
        "_fwd_grouped_kernel_stage1",
        "fmhaSm100aKernel_QkvE4m3OBfloat16H128PagedKvCausalVarSeqQ8Kv128PersistentSwapsAbForGen",
        "void flash_attn_combine_results<128>(float const*, float2 const*, float*, int)",
        "void masked_multihead_attention_kernel<unsigned short, 128, 4>",
        "void deep_gemm::sm90_fp8_paged_mqa_logits<32u, 1u, 128u>",
        "void cutlass::device_kernel<cutlass::fmha::kernel::Sm100FmhaMlaKernelTma<>>",
        "sdpa_recomp_fwd_bf16",
    ],
    STATE_SPACE: [
        "void selective_scan_bwd_kernel<Selective_Scan_bwd_kernel_traits<128, 16>>",
        "_chunk_scan_fwd_kernel",
        "_chunk_cumsum_fwd_kernel",
        "_state_passing_fwd_kernel",
        "_bmm_chunk_fwd_kernel",
        "_selective_scan_update_kernel",
        "fused_recurrent_gated_delta_rule_fwd_kernel",
        "chunk_local_cumsum_scalar_kernel",
        "chunk_scaled_dot_kkt_fwd_kernel",
        "recompute_w_u_fwd_kernel",
        "solve_tril_16x16_kernel",
        "chunk_fwd_kernel_o",
        "void gated_linear_attn_f32<64>(int, int, int, int, float, float const*)",
        "void ssm_scan_f32<256ul, 16ul>(float const*, float const*)",
        "void rwkv_wkv_f32<64>(int, int, int, int, float const*)",
    ],
    "matrix-mul": [
        "bmm_E4m3_E4m3E4m3_Fp32_t128x8x128_s9_et128x8_m128x8x32_cga1x1x1_16dp256b_TN_schedS",
        "bmm_Bfloat16_MxE2m1MxE4m3_castBfloat16_Fp32_t128x64x256u2_s7_et128x32",
        "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cutlass::gemm::"
        "GroupProblemShape<cute::tuple<int, int, int>>>>",
        "void deep_gemm::sm90_fp8_gemm_1d2d_impl<0u, 4096u, 7168u, 8u>",
        "void machete::device_kernel<machete::MacheteKernelTemplate>",
        "void marlin::Marlin<__nv_bfloat16, 8589935105l, 256, 4, 16, 4>",
        "void ck::kernel_moe_mxgemm<ck::GridwiseMoeGemmMX>",
        "void ck_tile::MoeFlatmmKernel<ck_tile::FlatmmPipeline>",
        "_ZN5aiter48fmoe_bf16_pertokenFp8_g1u1_vs_silu_1tg_ps_32x512E",
        "Custom_Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x256x64_MI16x16x1",
        "void gemm_half_q_half_gptq_4bit_kernel<true, 4>",
        "void mul_mat_vec_f<__half, float, 1, 128>(__half const*)",
        "void mul_mat_q_stream_k_fixup<(ggml_type)12, 64, false>",
        "gemm_fusion_dot_3",
        "dot.5",
        "jit_brgemm_matmul_t",
        "gpu::xetla::hgemm_policy<16, 256>",
        "_grouped_mm_kernel",
        "void fbgemm_gpu::f8f8bf16_rowwise_gemm_kernel<128, 128>",
    ],
    "normalization": [
        "void at::native::(anonymous namespace)::vectorized_rms_norm_kernel<float>",
        "void norm_f32<1024>(float const*, float*, int)",
        "void group_norm_f32<1024>(float const*, float*, int, int, float)",
        "l2norm_fwd_kernel",
        "void flashinfer::norm::FusedAddRMSNormKernel<8u, __nv_bfloat16>",
        "at::native::xpu::RowwiseMomentsSYCLKernelFunctor<float, float, 256>",
    ],
    "element-wise": [
        "void vllm::per_token_group_quant_8bit_kernel<__nv_bfloat16, __nv_fp8_e4m3>",
        "per_token_group_quant_fp8",
        "void vllm::cvt_fp16_to_fp4<__nv_bfloat16, false>(int, int)",
        "kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>",
        "void kdequant_mm_int32_fp16<4, 512>(int*, float*, float*)",
        "void kInt8VectorQuant<__half, 1024, 0>(__half*, signed char*)",
        "void dequantize_block_q4_K<__half>(void const*, __half*)",
        "void silu_kernel<float>(float const*, float*, int)",
        "void unary_op_kernel<&op_gelu, __half>",
        "void unary_gated_op_kernel<&op_silu, float>",
        "void tensorrt_llm::kernels::cutlass_kernels::doActivationKernel<__nv_bfloat16>",
        "at::native::xpu::VectorizedElementwiseKernel<8, at::native::xpu::AddFunctor<float>>",
        "loop_add_fusion",
        "loop_multiply_fusion_2",
        "wrapped_add",
        "_geglu_tanh_forward_kernel",
        "triton_rope_kernel",
    ],
    "reduction": [
        "input_reduce_fusion_3",
        "loop_multiply_reduce_fusion",
        "void reduce_rows_f32<false>(float const*, float*, int)",
        "void vllm::moe::moe_sum_kernel<c10::BFloat16, 8>",
        "at::native::xpu::ReduceKernel<1, at::native::xpu::ReduceOp<float>>",
        "void tensorrt_llm::kernels::cutlass_kernels::finalizeMoeRoutingKernel<__nv_bfloat16>",
    ],
    "indexing": [
        "split_embedding_codegen_forward_unweighted_kernel<float, float, float, int, 128ul>",
        "void fbgemm_gpu::split_embedding_backward_codegen_rowwise_adagrad_unweighted_exact_warp_"
        "per_row_1<float>",
        "split_embedding_nobag_codegen_forward_dropout_unweighted_small_kernel",
        "int_nbit_split_embedding_codegen_forward_unweighted_kernel_small_L",
        "split_embedding_backward_codegen_adam_cta_per_row_kernel",
        "void at::native::(anonymous namespace)::EmbeddingBag_updateOutputKernel_sum_mean<float>",
        "void fbgemm_gpu::bounds_check_indices_kernel_v1<long>",
        "void fbgemm_gpu::linearize_index_kernel<long>",
        "void k_get_rows<(ggml_type)12>",
        "at::native::xpu::IndexKernelFunctor<8>",
    ],
    "sort and scan": [
        "void vllm::moe::count_and_sort_expert_tokens_kernel<int>",
        "void vllm::moe::grouped_topk_fused_kernel<float>",
        "void k_argsort_f32_i32<(ggml_sort_order)1>",
        "triton_spl_fused_cumsum_0",
        "triton_red_fused_sort_1",
    ],
    "copy kernels": [
        "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, __nv_bfloat16>",
        "void vllm::concat_and_cache_mla_kernel<__nv_bfloat16>",
        "void flashinfer::AppendPagedKVCacheKernel<128u, 8u>",
        "void convert_unary<float, __half>(void const*, __half*)",
        "void cpy_f32_f16<&cpy_1_f32_f16>(char const*, char*)",
        "void tensorrt_llm::kernels::cutlass_kernels::expandInputRowsKernel<__nv_bfloat16>",
        "wrapped_convert",
        "loop_convert_fusion",
        "loop_transpose_fusion",
        "jit_uni_reorder",
        "void fbgemm_gpu::jagged_to_padded_dense_kernel<float>",
        "copy_fusion_1",
    ],
    "softmax": [
        "triton_softmax_computation",
        "void soft_max_f32<true, 0, 0, float>(float const*)",
        "void additive_masked_softmax_dropout_warp_forward_vec4<__half, float>",
        "triton_per_fused__softmax_dropout_1",
        "at::native::xpu::SoftmaxForwardKernelFunctor<float>",
    ],
    "loss": [
        "triton_red_fused__log_softmax_nll_loss_forward_2",
        "liger_fused_linear_cross_entropy_kernel",
    ],
    "optimizer": [
        "void kOptimizer32bit1State<float, 2>(float*, float*)",
        "void kPreconditionOptimizerStatic8bit2State<__half, 0>",
        "at::native::xpu::MultiTensorApplyKernelFunctor<FusedAdamMathFunctor<float>>",
    ],
    "convolution": [
        "void causal_conv1d_fwd_kernel<Causal_conv1d_fwd_kernel_traits<128, 4>>",
        "void ssm_conv_f32<128ul, 4ul>(float const*)",
        "naive_conv_ab_nonpacked_fwd_nchw_half_double_half",
        "void ck::kernel_grouped_conv_fwd_multiple_abd_xdl_cshuffle<>",
        "gen_conv_kernel",
        "triton_tem_fused_convolution_3",
        "void at::native::col2im_kernel<float>",
    ],
    "random and dropout": ["at::native::xpu::DistributionElementwiseKernelFunctor<float>"],
    "pooling and resampling": [
        "void at::native::max_pool_forward_nchw<float>",
        "MIOpenPoolingForward",
        "void upscale_f32(float const*, float*)",
    ],
    "other": [
        "fusion_12",
        "fba_kernel",
        "void tensorrt_llm::kernels::cutlass_kernels::computeStridesTmaWarpSpecializedKernel<>",
        "void all_things_considered<int>",
    ],
}
