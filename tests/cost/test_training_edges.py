"""What a training step keeps before the first block and after the last, tensor by tensor."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.cost.example_architectures import BERT_BASE, GPT2, LLAMA_2_7B, MIXTRAL, T5_SMALL
from topout.cost.saved_tensors import SavedTensor
from topout.cost.training import TrainingStep
from topout.cost.training_memory import (
    embedding_activations,
    final_activations,
    loss_activations,
    loss_error_bytes,
)
from topout.models.architecture import Architecture, Head

Listed = tuple[str, int, int]  # name, elements, bytes of one


def listed(tensors: list[SavedTensor]) -> list[Listed]:
    return [(tensor.name, tensor.elements, tensor.element_bytes) for tensor in tensors]


# Three sequences of 5 tokens, and of 7 on a decoder's side: 15 and 21 in all.
SHORT = TrainingStep(batch_size=3, sequence_len=5, target_len=7, dropout=True)
EAGER = replace(SHORT, implementation="eager")


@pytest.mark.parametrize(
    ("architecture", "tensors"),
    [
        (
            # Positions and types are those of one sequence; 768 wide; two statistics a token.
            BERT_BASE,
            [
                ("embedding.tokens", 15, 8),
                ("embedding.positions", 5, 8),
                ("embedding.token_types", 5, 8),
                ("embedding.norm.input", 15 * 768, 2),
                ("embedding.norm.statistics", 2 * 15, 4),
                ("embedding.dropout", 15 * 768, 1),
            ],
        ),
        (
            # An RMS norm keeps one statistic a token.
            replace(BERT_BASE, embeddings=BERT_BASE.embeddings[:1], embedding_norm="rms_norm"),
            [
                ("embedding.tokens", 15, 8),
                ("embedding.norm.input", 15 * 768, 2),
                ("embedding.norm.statistics", 15, 4),
                ("embedding.dropout", 15 * 768, 1),
            ],
        ),
        (
            # Each side of 512 looks up and drops; distances between all pairs of its positions.
            T5_SMALL,
            [
                ("embedding.tokens", 15, 8),
                ("embedding.dropout", 15 * 512, 1),
                ("embedding.tokens", 21, 8),
                ("embedding.dropout", 21 * 512, 1),
                ("embedding.distances", 5 * 5, 8),
                ("embedding.distances", 7 * 7, 8),
            ],
        ),
        (
            # A sine and a cosine for each of 128 numbers of a head at each of 5 positions.
            LLAMA_2_7B,
            [
                ("embedding.tokens", 15, 8),
                ("embedding.dropout", 15 * 4096, 1),
                ("embedding.rotation", 2 * 5 * 128, 2),
            ],
        ),
    ],
    ids=["bert", "rms norm", "t5", "llama"],
)
def test_what_embeddings_keep(architecture: Architecture, tensors: list[Listed]) -> None:
    assert listed(embedding_activations(architecture, SHORT)) == tensors


def test_what_an_encoder_decoder_keeps_after_its_blocks() -> None:
    """Norm and dropout of each side, the encoder's output, and what the decoder's head reads."""
    assert listed(final_activations(T5_SMALL, SHORT)) == [
        ("final_norm.input", 15 * 512, 2),
        ("final_norm.statistics", 15, 4),
        ("final_dropout", 15 * 512, 1),
        ("final_norm.input", 21 * 512, 2),
        ("final_norm.statistics", 21, 4),
        ("final_dropout", 21 * 512, 1),
        ("encoder_output", 15 * 512, 2),
        ("head.input", 21 * 512, 2),
    ]


@pytest.mark.parametrize(("family", "statistics"), [(T5_SMALL, [15, 2 * 21]), (MIXTRAL, [2 * 15])])
def test_the_norm_after_the_blocks_is_of_the_last_stack(
    family: Architecture, statistics: list[int]
) -> None:
    """Of the first stack's kind it would keep one statistic a token; this one keeps two."""
    last = replace(family.blocks[-1], norm="layer_norm")
    found = final_activations(replace(family, blocks=[*family.blocks, last]), SHORT)
    assert [each.elements for each in found if "statistics" in each.name] == statistics


# A pooler looks at one position of each of 3 sequences, and so does the last of these heads.
HEADS = [
    Head(name="pooler", inputs=768, outputs=96, bias=True, per="sequence"),
    Head(name="transform", inputs=96, outputs=64, bias=True, per="token", norm="layer_norm"),
    Head(name="scores", inputs=64, outputs=10, bias=True, per="sequence", norm="layer_norm"),
]
TWO_NORMED_HEADS = [
    ("transform.input", 15 * 96, 2),
    ("transform.activation_input", 15 * 64, 2),
    ("transform.norm.input", 15 * 64, 2),
    ("transform.norm.statistics", 2 * 15, 4),
    ("scores.input", 3 * 64, 2),
    ("scores.activation_input", 3 * 10, 2),
    ("scores.norm.input", 3 * 10, 2),
    ("scores.norm.statistics", 2 * 3, 4),
]


@pytest.mark.parametrize(
    ("setting", "changes", "positions"),
    [
        (SHORT, {}, 3),
        (EAGER, {}, 15),  # what the pooler's slice was cut from: all hidden states
        (EAGER, {"blocks": []}, 3),
    ],
    ids=["fused", "eager", "no blocks"],
)
def test_what_heads_read(setting: TrainingStep, changes: dict[str, Any], positions: int) -> None:
    headed = replace(BERT_BASE, heads=HEADS, **changes)
    pooled = ("pooler.input", positions * 768, 2)
    assert listed(final_activations(headed, setting)) == [pooled, *TWO_NORMED_HEADS]


@pytest.mark.parametrize(
    ("architecture", "setting", "scores", "targets", "size", "errors"),
    [
        # 21 tokens of 32,128 rows; transformers leaves T5's logits in their 2 bytes, a fused loss
        # does not. Two gradients as large as the logarithms come and go, or overwrite them (fused).
        (T5_SMALL, SHORT, 21 * 32128, 21, 4, 21 * 32128 * 4),
        (T5_SMALL, EAGER, 21 * 32128, 21, 2, 2 * 21 * 32128 * 2),
        (GPT2, EAGER, 15 * 50257, 15, 4, 2 * 15 * 50257 * 4),
        # 10 scores for each of 3 sequences.
        (replace(BERT_BASE, heads=HEADS), EAGER, 3 * 10, 3, 2, 2 * 3 * 10 * 2),
    ],
    ids=["t5 fused", "t5", "gpt2", "classifier"],
)
def test_what_the_loss_keeps(
    architecture: Architecture,
    setting: TrainingStep,
    scores: int,
    targets: int,
    size: int,
    errors: int,
) -> None:
    assert listed(loss_activations(architecture, setting)) == [
        ("loss.log_softmax", scores, size),
        ("loss.targets", targets, 8),
        ("loss.total_weight", 1, size),
    ]
    assert loss_error_bytes(architecture, setting) == errors
