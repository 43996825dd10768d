"""`--set`: the value changes, and nothing else of params.yaml; a wrong one changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.edit import set_values
from tasks.params import DeclarationError, read_yaml

TOY_PARAMS = Path(__file__).parents[1] / "toy" / "params.yaml"
COMMENTED = """\
# At the top.
profile: small   # which
seeds: [0, 1, 2]

datasets:
  none: {step: none}
  blobs: {step: toy_blobs, n: 40, smoke: {n: 12}}  # two of them
"""


@pytest.fixture(autouse=True)
def _steps(toy_steps: Callable[[str, str, str], None]) -> None:
    """The toy's steps are known."""


@pytest.fixture
def params(tmp_path: Path) -> Path:
    text = TOY_PARAMS.read_text()
    path = tmp_path / "params.yaml"
    path.write_text(COMMENTED + text[text.index("checkpoints:") :])
    return path


def test_the_value_changes_and_nothing_else(params: Path) -> None:
    before = params.read_text().splitlines()
    said = set_values(["methods.toy.cluster.arms.jittered.jitter=5.5", "profile=smoke"], params)
    after = params.read_text().splitlines()
    assert len(before) == len(after)
    different = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert different == [
        ("profile: small   # which", "profile: smoke   # which"),
        (
            "    cluster: {step: toy_halves, k: 2, arms: {jittered: {jitter: 3.0}}}",
            "    cluster: {step: toy_halves, k: 2, arms: {jittered: {jitter: 5.5}}}",
        ),
    ]
    assert said == [
        f"{params}: methods.toy.cluster.arms.jittered.jitter: 3.0 -> 5.5",
        f"{params}: profile: small -> smoke",
    ]


def test_back_and_forth_gives_the_same_bytes(params: Path) -> None:
    before = params.read_bytes()
    set_values(["seeds=[7, 8]", "methods.toy.cluster.k=3"], params)
    assert params.read_bytes() != before
    set_values(["seeds=[0, 1, 2]", "methods.toy.cluster.k=2"], params)
    assert params.read_bytes() == before


def test_key_that_a_block_lacks(params: Path) -> None:
    before = params.read_text() + "resources:\n  default:\n    memory_gib: 1\n"
    params.write_text(before)
    set_values(["resources.default.timeout_minutes=5"], params)
    assert params.read_text() == before.replace("    memory_gib: 1\n", "    timeout_minutes: 5\n    memory_gib: 1\n")


def test_value_that_does_not_fit_between_braces(params: Path) -> None:
    """A text with a comma would end the entry; it is quoted then, and comments stay."""
    set_values(["methods.toy.paper.title=Left, right"], params)
    assert read_yaml(params)["methods"]["toy"]["paper"] == {"title": "Left, right", "venue": "nowhere 2026"}
    assert "profile: small   # which" in params.read_text()


def test_no_change_writes_nothing(params: Path) -> None:
    before = params.stat()
    assert set_values(["methods.toy.cluster.k=2"], params) == []
    assert params.stat().st_mtime_ns == before.st_mtime_ns


def test_a_parameter_that_was_left_to_its_default(params: Path) -> None:
    set_values(["methods.toy.self_train.flip=0.25"], params)
    assert "self_train: {step: toy_vote, arms: {flipped: {flip: 0.4}}, flip: 0.25}" in params.read_text()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("methods.tpy.cluster.k=3", "--set methods.tpy.cluster.k: no 'methods.tpy' in params.yaml; did you mean 'toy'?"),
        ("methods.toy.clster.k=3", "--set methods.toy.clster.k: no 'methods.toy.clster' in params.yaml; did you mean 'cluster'?"),
        ("methods.toy.cluster.kk=3", "methods.toy.cluster.kk: step 'toy_halves' has no parameter 'kk'"),
        ("methods.toy.cluster.k=1", "methods.toy.cluster.k: input should be greater than or equal to 2, got 1"),
        ("methods.toy.cluster.k=many", "methods.toy.cluster.k: input should be a valid integer, got 'many'"),
        ("methods.toy.cluster.k.x=3", "--set methods.toy.cluster.k.x: 'methods.toy.cluster.k' is not a mapping"),
        ("methods.toy.cluster.k", "--set methods.toy.cluster.k: write key.path=value"),
        ("=3", "--set =3: write key.path=value"),
        ("profile=smok", "profile: unknown profile 'smok'; did you mean 'smoke'?"),
        ("seeds=[]", "seeds: must be a list of at least one integer"),
        ("prfile=smoke", "prfile: unknown key; did you mean 'profile'?"),
        ("methods.toy.cluster.k=[1", "--set methods.toy.cluster.k=[1: not a YAML value"),
    ],
)  # fmt: skip
def test_wrong_is_refused_without_writing(params: Path, assignment: str, message: str) -> None:
    before = params.read_bytes()
    with pytest.raises(DeclarationError) as caught:
        set_values(["methods.toy.cluster.jitter=1.0", assignment], params)
    assert message in str(caught.value)
    assert params.read_bytes() == before
    assert [p.name for p in params.parent.iterdir() if p.is_file()] == ["params.yaml"]


def test_layout_of_the_projects_own_params_survives(tmp_path: Path) -> None:
    source = (Path(__file__).parents[2] / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(source)
    other = "smoke" if "profile: small" in source else "small"
    set_values([f"profile={other}"], tmp_path / "params.yaml")
    before, after = source.splitlines(), (tmp_path / "params.yaml").read_text().splitlines()
    assert len(before) == len(after)
    different = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert len(different) == 1
    assert different[0][0].split()[:2] == ["profile:", "small" if other == "smoke" else "smoke"]
    assert different[0][0].split()[2:] == different[0][1].split()[2:]
