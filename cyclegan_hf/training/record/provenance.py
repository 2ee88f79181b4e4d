"""What a run starts from that the Hub knows: data sets with their licences, and the model of a warm start."""

from pathlib import Path

from huggingface_hub import HfApi, metadata_load
from yaml import YAMLError

from cyclegan_hf.hub.ids import is_hub_id
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.notation import SourceSpec, read_sources


class Origins:
    """A run's data sets and base model, for its cards.

    Whether `old/run` is an id or a path of this machine is decided here, once: the folder may be gone when a card is
    written.

    Args:
        config: The resolved configuration.
    """

    def __init__(self, config: TrainConfig) -> None:
        specs = [spec for written in (config.data.a, config.data.b) for spec in read_sources(written, "data")]
        self._datasets: dict[str, SourceSpec] = {}
        for spec in specs:
            if spec.is_hub_id and (spec.token or spec.place not in self._datasets):  # a token may see more
                self._datasets[spec.place] = spec
        self.has_others = not all(spec.is_hub_id for spec in specs)
        self.base_model = _base_model(config.run.warm_start)
        self.stated_license = config.hub.hub_data_license
        self._licenses: dict[str, str | None] = {}

    @property
    def datasets(self) -> list[str]:
        """Ids of the data sets on the Hub, once each."""
        return list(self._datasets)

    def in_words(self) -> str:
        """Every data set with its licence: the run's statement for all of them, or what the card of each says."""
        others = ["folders of the author"] if self.has_others else []
        if self.stated_license is not None:
            return f"{', '.join([*self.datasets, *others])}; licence: {self.stated_license}"
        licenses = {name: self._license(spec) for name, spec in self._datasets.items()} | dict.fromkeys(others)
        return ", ".join(f"{name} ({license or 'licence not stated'})" for name, license in licenses.items())

    def _license(self, spec: SourceSpec) -> str | None:
        """Return the licence on a dataset's card; unknown, and asked again, if the Hub doesn't answer at once."""
        if spec.place not in self._licenses:
            try:
                info = HfApi(token=spec.secret()).dataset_info(spec.place, revision=spec.revision, timeout=5)
            except Exception:  # no connection, no access, a card that cannot be read: a card is no reason to stop
                return None
            stated = info.card_data.license if info.card_data else None
            self._licenses[spec.place] = ", ".join(stated) if isinstance(stated, list) else stated
        return self._licenses[spec.place]


def _base_model(warm_start: str | None) -> str | None:
    """Return the Hub model that a run starts from, directly or through a folder whose card names it."""
    if warm_start is None:
        return None
    if is_hub_id(warm_start):
        return warm_start
    card = Path(warm_start, "README.md")
    try:
        named = (metadata_load(card) or {}).get("base_model") if card.is_file() else None
    except (OSError, ValueError, YAMLError):  # somebody's notes, which are no card
        return None
    return named if isinstance(named, str) else None
