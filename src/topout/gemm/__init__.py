"""The matrix multiplication laboratory: versions, rivals, checks, and PyTorch's place."""
