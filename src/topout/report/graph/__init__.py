"""The graph of a model's modules as a picture."""
