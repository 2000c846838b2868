"""A profile of any PyTorch code: where each moment of it belongs, and what it reached."""
