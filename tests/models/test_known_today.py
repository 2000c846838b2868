"""Known models that no formulas describe, and what is said of all known ones."""

import re

import pytest

from topout.models.architecture import active_parameters, total_parameters
from topout.models.architectures.read import FoundConfig, find_architecture
from topout.models.known import countable_names, known_config_json, known_names, short_name
from topout.models.known_counted import COUNTED
from topout.models.known_facts import facts_of
from topout.models.known_today import TODAY
from topout.verbs.costed_model import costed_model, named_model
from topout.verbs.counted_model import counted_model

# Of each kind of layer and cache one that is quickly built.
SMALL = [
    "opt-125m",
    "bloom-560m",
    "falcon-7b",
    "phi-3-mini",
    "deepseek-v2-lite",
    "gpt-oss-20b",
    "qwen3-next-80b-a3b",
    "mamba-2.8b",
    "modernbert-base",
    "whisper-large-v3",
    "mt5-base",
]


@pytest.mark.parametrize("name", SMALL)
def test_the_table_is_what_the_module_has(name: str) -> None:
    architecture, _ = counted_model(FoundConfig(name, known_config_json(name)), "bf16")
    found, kept = costed_model(architecture), COUNTED[name]
    for field in ("parameters", "active_parameters", "layers", "encoder_layers", "width", "heads"):
        assert getattr(kept, field) == getattr(found, field), field
    assert (kept.vocab_size, kept.context_len) == (found.vocab_size, found.context_len)


def test_every_one_was_counted() -> None:
    assert set(COUNTED) == set(TODAY)


@pytest.mark.parametrize(
    ("name", "published", "active"),
    [
        ("opt-175b", 175e9, None),
        ("bloom", 176e9, None),
        ("gpt-neox-20b", 20.6e9, None),
        ("phi-4", 14.7e9, None),
        ("deepseek-v3", 671e9, 37e9),
        ("deepseek-v2", 236e9, 21e9),
        ("kimi-k2", 1.03e12, 32e9),
        ("gpt-oss-120b", 117e9, None),
        ("glm-4.5", 355e9, 32e9),
        ("glm-4.5-air", 106e9, 12e9),
        ("minimax-m2", 229e9, 10e9),
        ("llama-4-scout", 109e9, 17e9),
        ("llama-4-maverick", 400e9, 17e9),
        ("bart-large", 406e6, None),
        ("deberta-v3-base", 184e6, None),
        ("albert-base-v2", 11.8e6, None),
    ],
)
def test_parameters_are_as_published(name: str, published: float, active: float | None) -> None:
    """To what names and cards round to; those of active ones leave out the embeddings or not."""
    assert COUNTED[name].parameters == pytest.approx(published, rel=0.015)
    if active is not None:
        assert COUNTED[name].active_parameters == pytest.approx(active, rel=0.13)


@pytest.mark.parametrize(
    ("name", "published"),
    [("gpt-3", 175e9), ("gopher", 280e9), ("chinchilla", 70e9), ("palm", 540e9)],
)
def test_models_that_were_never_published(name: str, published: float) -> None:
    architecture = find_architecture(name)
    assert total_parameters(architecture) == pytest.approx(published, rel=0.01)
    assert active_parameters(architecture) == total_parameters(architecture)
    assert name not in known_names()
    facts = facts_of(name)
    assert facts is not None and facts.access == "closed"


def test_projected_distances_are_parameters_and_work() -> None:
    """80 blocks of Gopher: one more matrix of 16,384 × 16,384 in each."""
    gopher = find_architecture("gopher")
    matrices = 80 * 13 * 16_384**2
    biases = 80 * (4 + 5) * 16_384  # of attention, and of the MLP
    norms = (80 * 2 + 1) * 16_384
    assert total_parameters(gopher) == matrices + biases + norms + 32_000 * 16_384


@pytest.mark.parametrize("name", countable_names())
def test_who_made_it_is_said(name: str) -> None:
    facts = facts_of(short_name(name) or name)
    assert name == "bundled" or facts is not None
    if facts is not None:
        assert re.fullmatch(r"20[12]\d-(0[1-9]|1[0-2])", facts.released)


def test_the_longest_beginning_counts() -> None:
    opt, large = facts_of("opt-66b"), facts_of("opt-175b")
    assert opt is not None and large is not None
    assert (opt.access, large.access) == ("open", "gated")
    old, new = facts_of("llama-3-8b"), facts_of("llama-3.1-8b")
    assert old is not None and new is not None and old.released < new.released
    assert facts_of("t50") is None and facts_of("nothing") is None


def test_encoders_with_decoders_have_layers_of_both() -> None:
    for name, sides in (("t5-base", (12, 12)), ("bart-large", (12, 12)), ("bert-base-cased", None)):
        model = named_model(name)
        found = model.encoder_layers
        assert sides == (found and (found, model.layers - found))
