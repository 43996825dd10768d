"""README.md says what the committed results say, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.results import readme_with
from tasks.params import read_yaml

REPOSITORY = Path(__file__).resolve().parents[1]


def test_verdict_table_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    methods = list(read_yaml()["methods"])
    readme = Path("README.md")
    assert readme.read_text() == readme_with(methods), "run: unlabeled verdicts --write"
    assert all(f"| `{method}` |" in readme.read_text() for method in methods)


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(p.relative_to(REPOSITORY).as_posix() for p in REPOSITORY.glob("docs/*.md"))]
)
def test_local_links_lead_somewhere(page: str) -> None:
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\((?!http)([^)#]+)", (REPOSITORY / page).read_text()):
        assert (folder / target).exists(), f"{page}: {target}"
