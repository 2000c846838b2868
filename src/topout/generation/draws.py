"""Whether tokens that were drawn follow the model's own distribution."""

import msgspec
import torch
from torch import Tensor

from topout.records import Verification

LEAST_P_VALUE = 1e-4
SAMPLED_DRAWS = 400
_LEAST_EXPECTED_DRAWS = 5.0


def verify_draws(verification: Verification, counts: Tensor, probabilities: Tensor) -> Verification:
    """Also require that draws with these counts [V] come from the model's `probabilities` [V]."""
    p_value = chi_square_p_value(counts, probabilities)
    checked = msgspec.structs.replace(verification, p_value=p_value)
    if p_value >= LEAST_P_VALUE:
        return checked
    reason = (
        f"{int(counts.sum())} sampled tokens do not follow the model's distribution "
        f"(p = {p_value:.1g})"
    )
    return msgspec.structs.replace(checked, passed=False, verdict="wrong", reason=reason)


def chi_square_p_value(counts: Tensor, probabilities: Tensor) -> float:
    """P-value that draws with these counts [V] come from `probabilities` [V].

    Tokens with fewer than 5 expected draws are pooled (Cochran's rule), and a pool that is still
    smaller joins the rarest of the others: one draw of a token of probability 1e-5 is no proof. A
    draw of a token of probability 0 gives 0. The survival function of chi-square with f degrees of
    freedom at x is the regularized upper incomplete gamma function Q(f/2, x/2).
    """
    counts, probabilities = counts.double(), probabilities.double()
    if bool((counts[probabilities == 0] > 0).any()):
        return 0.0
    expected = probabilities / probabilities.sum() * counts.sum()
    common = expected >= _LEAST_EXPECTED_DRAWS
    rare = torch.stack([counts[~common].sum(), expected[~common].sum()])
    bins = torch.stack([counts[common], expected[common]])  # [2, tokens]
    if float(rare[1]) >= _LEAST_EXPECTED_DRAWS:
        bins = torch.cat([bins, rare[:, None]], dim=1)
    elif bins.shape[1]:
        bins[:, bins[1].argmin()] += rare
    if bins.shape[1] < 2:
        return 1.0
    statistic = ((bins[0] - bins[1]) ** 2 / bins[1]).sum()
    freedom = torch.tensor((bins.shape[1] - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
