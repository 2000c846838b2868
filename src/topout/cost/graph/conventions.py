"""The conventions of a count, in words; every count carries them."""

CONVENTIONS = {
    "multiply_add": "2 FLOPs; 8 on complex numbers. Integer products count like floating-point.",
    "attention": (
        "flops count every pair of query and key. causal_flops count, where "
        "scaled_dot_product_attention or a fused kernel is told is_causal, the pairs that the "
        "mask leaves: S(S + 1)/2 for S queries and keys. A mask given as a tensor leaves all."
    ),
    "backward": "as executed: fused attention's is 5 products, an unfused one's 4.",
    "elementwise": (
        "other_flops: 1 for each element written, whatever the function; norms and softmax 4 to "
        "13 for each element; integers and booleans none."
    ),
    "bias": "of a product or a convolution: not counted. Padding is counted like input.",
    "embedding": "rows that are read, no product.",
    "bytes": (
        "traffic without fusion and caches: each op reads its arguments and writes its results; "
        "views are free, an expanded dimension is stored once, lookups read their rows alone. "
        "GB = 1e9 bytes."
    ),
    "compulsory_bytes": (
        "of a forward: what it reads of memory made outside, each byte once, and what it returns "
        "or changes there."
    ),
}

FUSED_ON_META = (
    "on meta tensors scaled_dot_product_attention is counted as the fused kernel that a device "
    "would run."
)
UNFUSED_ON_META = "on meta tensors scaled_dot_product_attention is counted unfused."
FAST_PATH = (
    "nn.TransformerEncoder and nn.MultiheadAttention are counted without their fast path, compiled "
    "code as its eager original."
)
