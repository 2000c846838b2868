"""Text of tokens, piece by piece."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.models.source import resolve_model
from topout.models.text import ByteTokenizer, Tokenizer, load_tokenizer
from topout.winner.pieces import StopTexts, TextPieces


class Bytes(ByteTokenizer):
    """A byte a token: any character beyond ASCII is spread over several."""

    def __init__(self) -> None:
        super().__init__(256)


class Fallback(ByteTokenizer):
    """ASCII, and bytes as SentencePiece decodes them: a mark for each of a run that is no text."""

    def __init__(self) -> None:
        super().__init__(256)

    def decode(self, ids: list[int]) -> str:
        runs = re.findall(rb"[\x00-\x7f]+|[\x80-\xff]+", bytes(ids))
        return "".join(map(self._run, runs))

    @staticmethod
    def _run(run: bytes) -> str:
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)


class Words(ByteTokenizer):
    """Words whose space before them is lost at the beginning of what is decoded."""

    def __init__(self) -> None:
        super().__init__(256)

    def decode(self, ids: list[int]) -> str:
        return "".join(f" w{each}" if each else "" for each in ids).removeprefix(" ")


def pieces_of(tokenizer: Tokenizer, ids: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    pieces = TextPieces(tokenizer, prompt)
    return [pieces.add(each) for each in ids]


def test_a_character_comes_with_its_last_byte() -> None:
    assert pieces_of(Bytes(), "aé€😀b".encode()) == [
        *"a",
        "",
        "é",
        "",
        "",
        "€",
        "",
        "",
        "",
        "😀",
        "b",
    ]


@pytest.mark.parametrize("tokenizer", [Bytes(), Fallback()])
def test_bytes_of_a_prompt_are_the_first_half_of_a_character(tokenizer: Tokenizer) -> None:
    euro = "€".encode()
    assert pieces_of(tokenizer, [*euro[2:], 33], [97, *euro[:2]]) == ["€", "!"]


@given(st.text(alphabet=st.characters(blacklist_characters="\ufffd", codec="utf-8")))
def test_pieces_of_any_text_are_the_text(text: str) -> None:
    for tokenizer in (Bytes(), Fallback()):
        found = pieces_of(tokenizer, text.encode())
        assert "".join(found) == text
        assert not any("\ufffd" in piece for piece in found)


@given(st.lists(st.integers(0, 255), max_size=80))
def test_of_bytes_that_are_no_text_only_the_unfinished_end_is_missing(ids: list[int]) -> None:
    whole = bytes(ids).decode(errors="replace")
    found = "".join(pieces_of(Bytes(), ids))
    assert whole.startswith(found)
    assert set(whole[len(found) :]) <= {"\ufffd"}


def test_what_is_never_a_character_is_not_held_for_ever() -> None:
    found = pieces_of(Bytes(), [0xFF] * 100)
    assert "".join(found).count("\ufffd") >= 80


def test_the_space_before_a_word_is_kept() -> None:
    assert pieces_of(Words(), [1, 2, 0, 3], [7]) == [" w1", " w2", "", " w3"]
    assert pieces_of(Words(), [1, 2, 0, 3]) == ["w1", " w2", "", " w3"]


@given(st.lists(st.integers(0, 4095), max_size=60), st.lists(st.integers(0, 4095), max_size=9))
def test_pieces_of_the_bundled_tokenizer_are_what_it_decodes(
    ids: list[int], prompt: list[int]
) -> None:
    tokenizer = load_tokenizer(resolve_model("bundled"))
    whole, before = tokenizer.decode([*prompt, *ids]), tokenizer.decode(prompt)
    found = before.rstrip("\ufffd") + "".join(pieces_of(tokenizer, ids, prompt))
    assert whole.startswith(found.rstrip("\ufffd"))
    assert len(whole.rstrip("\ufffd")) <= len(found)


# --- texts to stop at ---------------------------------------------------------------------------


def stopped(pieces: Sequence[str], stop: Sequence[str]) -> tuple[str, bool]:
    texts, given_out = StopTexts(stop), ""
    for piece in pieces:
        text, ended = texts.add(piece)
        given_out += text
        if ended:
            return given_out, True
    return given_out + texts.rest(), False


def test_it_ends_before_the_text_even_across_pieces() -> None:
    assert stopped(["one E", "N", "D two"], ["END"]) == ("one ", True)
    assert stopped(["one E", "N", "E two"], ["END"]) == ("one ENE two", False)
    assert stopped(["abcabd"], ["zz", "abd", "ca"]) == ("ab", True)
    assert stopped(["abc"], []) == ("abc", False)


def test_only_what_could_be_the_text_is_held_back() -> None:
    texts = StopTexts(["aab"])
    assert [texts.add(piece)[0] for piece in ("x", "a", "a", "a", "c")] == ["x", "", "", "a", "aac"]


@given(
    st.lists(st.text(alphabet="ab", max_size=3), max_size=12),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_it_ends_where_the_first_of_the_texts_is_complete(
    pieces: list[str], stop: list[str]
) -> None:
    """By hand: at the first piece after which one is there, before the earliest of them."""
    whole = ""
    for piece in pieces:
        whole += piece
        places = [whole.find(each) for each in stop if each in whole]
        if places:
            assert stopped(pieces, stop) == (whole[: min(places)], True)
            return
    assert stopped(pieces, stop) == (whole, False)
