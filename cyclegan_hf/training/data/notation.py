"""How a source of pictures is written: a place and, after commas, what is wanted of it.

    photos/summer                                      a folder with all its sub-folders
    photos/**/*.jpg                                    a pattern
    chosen.txt                                         a list: one path a line, relative to the list
    shards/train-*.parquet, shards/, set.tar           parquet, webdataset (.tar), arrow, zip files, a folder of them
    user/name,split=train,column=imageA,revision=v2    a data set on the Hub
    user/name,label=zebra                              those of its rows that carry a label
    hf://datasets/user/name/data/*.parquet, https://…  files of a repository, or of any server

One string, so that a flag, a line of YAML and a list of several sources need no second notation; commas and equals
signs, as lm-eval's `--model_args` and Docker's `--mount` have them, so that no shell wants quotes. The names are those
of `datasets.load_dataset`. Several sources make a list: `--data.a photos user/name,weight=2`.
"""

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cyclegan_hf.hub.ids import is_hub_id


KINDS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow", ".zip": "imagefolder"}
"""What `datasets` calls files by their extension."""
ADDRESSES = ("hf://", "https://", "http://")
_OPTION = re.compile(r"\s*\w+=")

OUTSIDE_FLAG = "--data.allow-outside-files"
"""The flag that lets tables and lists name files outside of their folder or repository."""

Written = str | list[str] | None
"""A source, several, or none, as a flag or a recipe gives it."""


@dataclass(kw_only=True, frozen=True)
class SourceSpec:
    """One source as it was written.

    Attributes:
        key: The flag that named it, for messages: `"data.a"`.
        text: The source as it was written.
        place: A path, a pattern, an address or a Hub id.
        config: The data set's configuration ("subset" on the Hub).
        split: Its split; unset, `train` (for test pictures `test`), or the only one there is.
        column: Its column of pictures; unset, the only one there is.
        revision: A branch, tag or commit of the Hub's repository.
        token: The name of an environment variable with a token for the Hub; unset, the Hub's own `HF_TOKEN` or login.
        label: Rows with this value in the label column are taken, the others are not.
        label_column: Unset, `label`, or the only column of labels.
        unique: Take each picture once, however often its bytes are repeated.
        weight: The source's share of the pictures drawn, in proportion to the other sources' weights.
        allow_outside_files: Open files outside of the source that its tables or lists name.
    """

    key: str
    text: str
    place: str
    config: str | None = None
    split: str | None = None
    column: str | None = None
    revision: str | None = None
    token: str | None = None
    label: str | None = None
    label_column: str | None = None
    unique: bool = False
    weight: float | None = None
    allow_outside_files: bool = False

    @property
    def is_address(self) -> bool:
        """Whether the place is `hf://…` or `https://…`."""
        return self.place.startswith(ADDRESSES)

    @property
    def is_hub_id(self) -> bool:
        """Whether the place is an id on the Hub: `user/name`, where there is no such path on this machine."""
        return is_hub_id(self.place)

    @property
    def is_table(self) -> bool:
        """Whether an option asks for rows: a folder of pictures is then read as a data set."""
        return any([self.config, self.split, self.column, self.label, self.label_column])

    def secret(self) -> str | None:
        """Return the token itself, from the environment.

        Raises:
            ValueError: If there is no such variable.
        """
        if self.token is None:
            return None
        if not os.environ.get(self.token):
            raise ValueError(
                f"`{self.key}` {self.text}: `token={self.token}` names no environment variable that is set."
            )
        return os.environ[self.token]

    def refuse(self, fault: str) -> ValueError:
        """Return an error that names the flag and the source."""
        return ValueError(f"`{self.key}` {self.text}: {fault}")


OPTIONS = ("config", "split", "column", "revision", "token", "label", "label_column", "unique", "weight")


def read_sources(written: Written, key: str, allow_outside_files: bool = False) -> list[SourceSpec]:
    """Parse a flag or a recipe's key.

    Args:
        written: One source, several, or none.
        key: The key, for messages: `"data.a"`.
        allow_outside_files: Open files outside of the sources that their tables or lists name.

    Raises:
        ValueError: For an unknown option (with the nearest one) or a value that cannot be.
    """
    texts = [] if written is None else [written] if isinstance(written, str) else list(written)
    return [replace(_read(text, key), allow_outside_files=allow_outside_files) for text in texts]


def _read(text: str, key: str) -> SourceSpec:
    parts = [] if Path(text).exists() else text.split(",")  # a path may have commas and equals signs
    first = len(parts)
    while first > 1 and _OPTION.match(parts[first - 1]):
        first -= 1
    options = dict(part.strip().split("=", 1) for part in parts[first:])
    place = ",".join(parts[:first]) or text
    if not place.strip():
        raise ValueError(f"`{key}` must be a source of pictures, got {text!r}.")
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"Did you mean `{near[0]}=`?" if near else f"There are: {', '.join(OPTIONS)}."
            raise ValueError(f"`{key}` {text}: there is no option `{name}=`. {hint}")
    unique = {"true": True, "false": False}.get(options.pop("unique", "false").lower())
    if unique is None:
        raise ValueError(f"`{key}` {text}: `unique=` must be true or false.")
    weight = None
    if "weight" in options:
        try:
            weight = float(options.pop("weight"))
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise ValueError(f"`{key}` {text}: `weight=` must be a number above 0.")
    if options.get("token", "").startswith("hf_"):  # and not repeated here: it would be in every log
        raise ValueError(
            f"`{key}` {place}: `token=` must be the name of an environment variable, not the token itself."
        )
    return SourceSpec(key=key, text=text, place=place, unique=unique, weight=weight, **options)  # type: ignore[arg-type]
