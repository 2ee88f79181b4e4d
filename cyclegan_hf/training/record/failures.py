"""The signs of `cyclegan_hf.evaluation.failure_checks`, followed over a run, and those that only a run can show."""

from __future__ import annotations

from typing import Any

from cyclegan_hf.evaluation.failure_checks import SIGNS as SIGNS_OF_PICTURES
from cyclegan_hf.evaluation.failure_checks import Sign, present


LOOKS = 2
"""Looks in a row that must show a sign: the first pictures of a run are all wrong in some way."""
LONG = 2000
"""Steps for which the discriminators' accuracy must stay out of balance: batches of one picture are noisy."""

SIGNS = SIGNS_OF_PICTURES | {
    "discriminator_ahead": Sign(
        ("steps_ahead",),
        lambda m: m["steps_ahead"] >= LONG,
        "the discriminator has been right almost always for {steps_ahead:.0f} steps: it learns too fast",
    ),
    # Guessing is also how a finished game looks: a sign to look at the pictures, not proof of a fault.
    "discriminator_behind": Sign(
        ("steps_behind",),
        lambda m: m["steps_behind"] >= LONG,
        "the discriminator has been guessing for {steps_behind:.0f} steps: it learns too slowly, or there is nothing "
        "left to tell apart",
    ),
}


class Signals:
    """Follows the signs of both directions over a run, and says each once.

    Attributes:
        measures (`dict[str, dict[str, float]]`): Of the last look, by direction.
        since (`dict[str, int]`): The step at which a sign was said, by `<sign>_<direction>`.
    """

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, float]] = {}
        self.since: dict[str, int] = {}
        self._shown: dict[str, int] = {}  # looks in a row that showed a sign
        self._streaks: dict[str, int] = {}  # steps in a row out of balance

    def look(self, step: int, steps: int, measures: dict[str, dict[str, float]]) -> list[str]:
        """Take in a look.

        Args:
            step: When.
            steps: Steps since the last look, over which `accuracy` was averaged.
            measures: By direction: `accuracy` of the discriminator there, and what `measure` gives where there were
                pictures to measure.

        Returns:
            What is to be said now.
        """
        said = []
        for direction, values in measures.items():
            for name, out in (("ahead", values["accuracy"] > 0.95), ("behind", abs(values["accuracy"] - 0.5) < 0.02)):
                key = f"{name}_{direction}"
                self._streaks[key] = self._streaks.get(key, 0) + steps if out else 0
                values[f"steps_{name}"] = float(self._streaks[key])
            now = present(values, SIGNS)
            for name in SIGNS:
                key = f"{name}_{direction}"
                self._shown[key] = self._shown.get(key, 0) + 1 if name in now else 0
                if self._shown[key] >= LOOKS and key not in self.since:
                    self.since[key] = step
                    said.append(f"{direction}: {now[name]}")
        self.measures = measures
        return said

    def present(self) -> dict[str, str]:
        """Return the warnings of the last look, logged or not, by `<sign>_<direction>`."""
        return {
            f"{name}_{direction}": message
            for direction, values in self.measures.items()
            for name, message in present(values, SIGNS).items()
        }

    def unsaid(self) -> list[str]:
        """Return the warnings of the last look that weren't logged."""
        return [f"{key.rpartition('_')[2]}: {told}" for key, told in self.present().items() if key not in self.since]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"since": self.since, "shown": self._shown, "streaks": self._streaks, "measures": self.measures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict`."""
        self.since, self._shown, self._streaks = dict(state["since"]), dict(state["shown"]), dict(state["streaks"])
        self.measures = {direction: dict(values) for direction, values in state["measures"].items()}
