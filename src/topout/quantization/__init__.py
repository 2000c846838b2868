"""Weights in fewer bits: how they are rounded, saved, and multiplied by native layers."""
