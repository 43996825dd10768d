"""Documents as tokens, the way gensim's tutorials and Lbl2Vec do it."""

from gensim.parsing.preprocessing import strip_tags
from gensim.utils import PAT_ALPHABETIC, simple_preprocess

SHORTEST, LONGEST = 2, 15


def tokenize(text: str) -> list[str]:
    """Lower-case words of 2 to 15 letters without accents; markup, digits and punctuation are dropped, nothing else."""
    return simple_preprocess(strip_tags(text), deacc=True, min_len=SHORTEST, max_len=LONGEST)


def first_tokens(text: str, count: int) -> str:
    """The start of `text`, without markup, up to the end of its token number `count`."""
    text, seen = strip_tags(text), 0
    for match in PAT_ALPHABETIC.finditer(text):
        word = match.group()
        seen += SHORTEST <= len(word) <= LONGEST and not word.startswith("_")
        if seen == count:
            return text[: match.end()]
    return text
