"""The other commands of `unlabeled`: what they print, and that looking changes nothing."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

COMMANDS = [
    "list",
    "show",
    "run",
    "sweep",
    "status",
    "compare",
    "report",
    "verdicts",
    "sync",
    "validate",
    "doctor",
    "serve",
]
LOADING = {"src", "href", "data", "poster", "srcset", "action"}


@pytest.fixture(scope="module")
def looked(first_run, tmp_path_factory) -> dict[str, tuple[int, str, str]]:
    """What the commands that only look print in a workspace that has run, and whether that changed anything."""
    workspace = first_run[0].copy(tmp_path_factory.mktemp("looked") / "workspace")
    (workspace.folder / "README.md").write_text(
        "# Toy\n\n<!-- verdicts: written by `unlabeled verdicts --write` -->\nformer\n<!-- end of verdicts -->\n\nafter\n"
    )
    before = workspace.contents(".")
    lines = [
        "list", "show toy", "status", "compare", "compare toy --metrics accuracy", "compare tpy", "verdicts", "sync",
        "validate", "doctor", "run --all --dry", "run toy --dry", "run --all --profile smoke --dry",
    ]  # fmt: skip
    results = dict(zip(lines, workspace.commands(*lines), strict=True))
    ignored = (".unlabeled/", ".dvc/tmp/", ".git/")
    after = workspace.contents(".")
    changed = {p for p in before | after if before.get(p) != after.get(p) and not p.startswith(ignored)}
    results["changed"] = (len(changed), str(sorted(changed)), "")
    writes = ["verdicts --write", "report", "report --output elsewhere.html"]
    results |= dict(zip(writes, workspace.commands(*writes), strict=True))
    results["readme"] = (0, workspace.read("README.md"), "")
    results["page"] = (0, workspace.read("report.html"), "")
    assert (workspace.folder / "elsewhere.html").is_file()
    return results


@pytest.mark.parametrize("line", ["run --all", "sweep toy --set methods.toy.cluster.k=3"])
def test_number_of_cores_that_is_none(toy_workspace, line: str) -> None:
    ((code, _, said),) = toy_workspace.commands(line, UNLABELED_JOBS="all")
    assert (code, said) == (2, "error: UNLABELED_JOBS must be a whole number of at least 1, got 'all'\n")


def test_looking_changes_nothing(looked) -> None:
    assert looked["changed"][:2] == (0, "[]")


@pytest.mark.parametrize(
    "line", ["list", "show toy", "status", "compare", "verdicts", "sync", "validate", "run --all --dry"]
)
def test_looking_succeeds_quietly(looked, line: str) -> None:
    code, _, errors = looked[line]
    assert (code, errors) == (0, "")


def test_list(looked) -> None:
    assert re.search(r"toy\s+toys\s+blobs\s+A toy \(nowhere 2026\)\s+(holds|leans)", looked["list"][1])


def test_show(looked) -> None:
    said = looked["show toy"][1]
    assert "A toy, nowhere 2026" in said
    for stage in ("pretrain", "cluster", "pseudo_label", "self_train", "evaluate"):
        assert re.search(rf"^{stage}: toy_", said, re.MULTILINE)
    assert "arm jittered: jitter 3.0" in said
    assert "arm flipped: flip 0.4" in said
    assert "accuracy: share of test samples predicted right" in said
    assert re.search(r"accuracy: main beats jittered -> (holds|leans), \+0\.\d{3} \[", said)


def test_status_of_what_is_fresh(looked) -> None:
    assert looked["status"][1] == "all 10 stages are up to date\n"
    assert looked["run --all --dry"][1] == "all 10 stages are up to date\n"
    assert looked["run toy --dry"][1] == "all 8 stages are up to date\n"


def test_dry_does_not_change_params(looked) -> None:
    code, _, errors = looked["run --all --profile smoke --dry"]
    assert code == 2
    assert "--dry" in errors


def test_compare(looked) -> None:
    said = looked["compare"][1]
    assert "toy on blobs, 3 seeds, profile small" in said
    assert re.search(r"^\s*main\s+1\.000 ± 0\.000\s*$", said, re.MULTILINE)
    assert re.search(r"^\s*jittered\s+0\.\d{3} ± 0\.\d{3}\s*$", said, re.MULTILINE)
    assert re.search(r"toy\s+accuracy\s+1\.000 ± 0\.000\s+jittered .* 3/3", said)
    assert looked["compare toy --metrics accuracy"][1] == said
    assert looked["compare tpy"][0] == 2
    assert "unknown method 'tpy'; did you mean 'toy'?" in looked["compare tpy"][2]


def test_verdicts(looked) -> None:
    said = looked["verdicts"][1]
    assert said.startswith("| method | metric | main | baseline |")
    assert len(said.splitlines()) == 4
    assert re.search(
        r"\| `toy` \| accuracy \| 1\.000 ± 0\.000 \| `jittered` \| 0\.\d+ ± 0\.\d+ \| \+0\.\d+ \[.*\] \| 3/3 \| \*\*",
        said,
    )
    readme = looked["readme"][1]
    assert said in readme
    assert readme.startswith("# Toy\n")
    assert readme.endswith("<!-- end of verdicts -->\n\nafter\n")
    assert "former" not in readme


def test_validate_covers_every_profile(looked) -> None:
    assert [line.split(":")[0] for line in looked["validate"][1].splitlines()] == [
        f"profile {p}" for p in ("small", "smoke", "full")
    ]


def test_doctor(looked) -> None:
    code, said, _ = looked["doctor"]
    lines = {line.split(":")[0].split(maxsplit=1)[1]: line.split()[0] for line in said.splitlines()}
    assert set(lines) >= {"python", "packages", "device", "dvc", "mlflow", "disk", "workspace"}
    assert code == (1 if "wrong" in lines.values() else 0)
    assert {lines["dvc"], lines["mlflow"], lines["declaration, profile full"]} == {"ok"}


class Page(HTMLParser):
    """Open tags, and everything that a browser would fetch."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[tuple[str, str]] = []
        self.ids: set[str] = set()
        self.mistakes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in LOADING and tag != "a":
                self.fetched.append((tag, value or ""))
            if name == "id":
                self.ids.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)


def test_report_is_one_sound_page_that_fetches_nothing(looked) -> None:
    text = looked["page"][1]
    page = Page()
    page.feed(text)
    page.close()
    assert (page.open, page.mistakes) == ([], [])
    assert "toy" in page.ids
    assert page.fetched
    for tag, source in page.fetched:
        assert tag == "img"
        assert source.startswith("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 50
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert re.search(r'class="verdict (holds|leans)"', text)
    assert "share of test samples predicted right" in text
    assert "wrote report.html" in looked["report"][1]


@pytest.fixture(scope="module")
def untouched(first_run) -> list[tuple[int, str, str]]:
    return first_run[0].commands("--help", "--version", *(f"{name} --help" for name in COMMANDS))


def test_help_of_every_command(untouched) -> None:
    (_, overview, _), (_, version, _), *helps = untouched
    assert [code for code, _, _ in untouched] == [0] * len(untouched)
    listed = re.findall(r"^│ (\w+) ", overview, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    for name, (_, said, _) in zip(COMMANDS, helps, strict=True):
        assert f"unlabeled {name}" in said


# ---- --set ----------------------------------------------------------------------------------------------------


def test_status_and_dry_name_what_is_stale_and_why(ran_workspace) -> None:
    ran_workspace.edit("params.yaml", "flip: 0.4", "flip: 0.2")
    before = ran_workspace.contents("params.yaml", "artifacts", "results")
    lock = ran_workspace.lock()
    results = ran_workspace.commands("status", "run toy --dry")
    for code, said, _ in results:
        assert code == 0
        assert re.search(
            r"^\s*self_train@toy\s+dep params\.yaml: modified methods\.toy\.self_train", said, re.MULTILINE
        )
        assert "may follow if the above change their outputs: evaluate@toy" in said
        assert "cluster@toy" not in said
    assert ran_workspace.contents("params.yaml", "artifacts", "results") == before
    changed = {stage for stage, entry in ran_workspace.lock().items() if entry != lock[stage]}
    assert changed <= {"fingerprint"}


@pytest.mark.slow
def test_results_before_the_first_run(toy_workspace) -> None:
    listed, compared, verdicts, report, shown = toy_workspace.commands(
        "list", "compare", "verdicts", "report", "show toy"
    )
    assert [code for code, _, _ in (listed, compared, verdicts, report, shown)] == [0] * 5
    assert "not run" in listed[1]
    assert "toy: no results yet; run 'unlabeled run toy'" in compared[2]
    assert "Without results here: toy." in toy_workspace.read("report.html")
    assert "accuracy: main beats jittered -> not run" in shown[1]
