"""Topout: how far a transformer runs below what its hardware allows, why, and the way up."""
