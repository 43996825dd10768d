"""The file params.yaml as it stands, and the names in it that everything knows; what it means is in `declaration`.

Commands that only read import nothing heavier than this, so that they answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

PARAMS = Path("params.yaml")
PROFILES = ("small", "smoke", "full")
METHOD_STAGES = ("pretrain", "cluster", "pseudo_label", "self_train", "evaluate")
MAIN = "main"


class DeclarationError(ValueError):
    """Mistakes in params.yaml, one per line, each with key and remedy."""

    def __init__(self, mistakes: list[str]):
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def read_yaml(path: Path = PARAMS) -> dict[str, Any]:
    """Parse params.yaml; syntax errors and duplicate keys raise `DeclarationError` with the line."""
    try:
        text = path.read_text()
    except OSError as error:
        raise DeclarationError([f"{path}: {error.strerror}; run in the folder that holds params.yaml"]) from error
    except UnicodeDecodeError as error:
        raise DeclarationError([f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})"]) from error
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DeclarationError(
            [f"{path}:{line}: {str(error.problem).split(' with')[0]}; remove one of the two"]
        ) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DeclarationError([f"{path}:{line}: YAML syntax error: {error.problem or error.context}"]) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DeclarationError([f"{path}:{line}: YAML syntax error: {error.reason}"]) from error
    if not isinstance(content, dict):
        raise DeclarationError([f"{path}: must be a mapping with profile, seeds, datasets, checkpoints, methods"])
    return content
