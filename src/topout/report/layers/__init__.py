"""A model layer by layer."""
