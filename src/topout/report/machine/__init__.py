"""Machines: this one with its ceilings, and those of the catalog."""
