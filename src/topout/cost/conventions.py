"""How this package counts, in words: they stand beside every result."""

CONVENTIONS = (
    "A multiply-add is 2 FLOPs.",
    "FLOPs are those of matrix products, attention and convolutions; norms, activations and sums "
    "are kept apart, one FLOP per element read.",
    "Causal attention counts the pairs that its mask leaves, about half of the full square.",
    "Attention is fused: no matrix of scores goes to memory.",
    "An embedding is a row that is read, not a product.",
    "After a prompt only the last position gets logits; in training all do.",
    "Bytes are what each op reads and writes once: weights, activations, KV cache. 1 GB = 1e9.",
    "Backward is twice forward, 2.5 times for attention; AdamW moves 28 bytes per parameter.",
)
