"""How much time a comparison may take, and how many rounds that is for each candidate."""

import math

import msgspec


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds at one shape, and the limits of what is slow."""

    rounds: int
    sample_s: float  # quick products are repeated until a sample lasts so long
    budget_s: float  # of one candidate in all rounds; a slow one takes part in fewer
    longest_product_s: float  # what takes longer is not measured at all

    def repeats(self, product_s: float) -> int:
        """Products of one sample."""
        return max(1, min(10_000, math.ceil(self.sample_s / max(product_s, 1e-9))))

    def rounds_of(self, product_s: float) -> int:
        """Rounds in which a candidate takes part, at least one."""
        sample_s = product_s * self.repeats(product_s)
        return max(1, min(self.rounds, int(self.budget_s / sample_s)))


QUICK = Effort(rounds=5, sample_s=0.005, budget_s=1.0, longest_product_s=4.0)
FULL = Effort(rounds=15, sample_s=0.02, budget_s=4.0, longest_product_s=20.0)
