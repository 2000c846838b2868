"""A training run over ranks."""
