"""What a transformer needs, and how long that should take: pure formulas."""
