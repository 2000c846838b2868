"""The matrix multiplication laboratory: its document and charts."""
