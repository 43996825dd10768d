"""What became of every stage of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

STATES = ("ran", "restored", "fresh", "failed", "skipped")


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

    def counts(self) -> str:
        """`3 ran, 6 restored`: how many stages came to which state."""
        states = list(self.states.values())
        return ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)

    def told(self) -> list[str]:
        """The lines that say why stages failed; those skipped for it are left out."""
        return [
            line
            for stage, message in self.errors.items()
            if self.states[stage] == "failed"
            for line in message.splitlines()
        ]
