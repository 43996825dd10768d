from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.text.tokens import first_tokens, tokenize


def test_what_is_a_token() -> None:
    text = "<b>The</b> Café, 3 naïve 42nd e-mails: a supercalifragilistic _hidden x"
    assert tokenize(text) == ["the", "cafe", "naive", "nd", "mails"]


def test_no_token() -> None:
    assert tokenize("1 2 ... <p> a") == []


def test_first_tokens_ends_after_the_last_one() -> None:
    assert first_tokens("One, two; a three <i>four</i> five.", 3) == "One, two; a three"
    assert first_tokens("One two.", 5) == "One two."


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=80), st.integers(1, 6))
def test_first_tokens_keeps_exactly_the_first(text: str, count: int) -> None:
    assert tokenize(first_tokens(text, count)) == tokenize(text)[:count]
