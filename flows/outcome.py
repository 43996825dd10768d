"""What became of every stage of a run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What became of every stage: ran, restored (from DVC's run cache), fresh, failed or skipped."""

    states: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    bad_input: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.errors)
