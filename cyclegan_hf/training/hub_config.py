"""The Hub's part of a run's configuration."""

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True)
class HubConfig:
    """What is pushed to the Hub, and when. Log in first, with `hf auth login`."""

    push_to_hub: bool = False
    """Push the finished pipeline to the Hub, as `cyclegan-hf push` does."""
    hub_model_id: str | None = None
    """Repository to push to, such as `user/name`; unset, the output folder's name under the token's user."""
    hub_strategy: Literal["end", "checkpoint", "all"] = "end"
    """`end`: the finished pipeline. `checkpoint`: in the background each checkpoint too, its pipeline at the root, and
    all that a run needs to go on in `last-checkpoint/`. `all`: each checkpoint in a folder of its own, after a break
    those too that the Hub lacks. A recipe with stages pushes its end alone: `end`."""
    hub_private_repo: bool = False
    """Make a new repository private."""
    hub_license: str | None = None
    """The model's licence for its card, as the Hub spells it."""
    hub_data_license: str | None = None
    """The training pictures' licence for the card; unset, what the card of a data set on the Hub says."""
