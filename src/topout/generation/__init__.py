"""A model that generates: session, steps, the worker it lives in, verification, placement."""
