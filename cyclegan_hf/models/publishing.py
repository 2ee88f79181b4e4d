"""A single network on the Hub: pushed as one commit with a card, and pulled with its hashes compared.

The Hub's modules load when something is pushed or pulled: networks are built without them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError

from cyclegan_hf.errors import one_line
from cyclegan_hf.models.building import check_against_weights, read_shapes
from cyclegan_hf.saved_format import GRAPH_NAME, read_json, weights_name


if TYPE_CHECKING:
    from cyclegan_hf.hub.upload import Published

_ALL_WEIGHTS = "diffusion_pytorch_model*.safetensors"


class PushMixin:
    """Comes before diffusers' mixins, whose `push_to_hub` writes an empty card and knows no branch."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        revision: str | None = None,
        variant: str | None = None,
        subfolder: str | None = None,
        license: str | None = None,
    ) -> Published:
        """Push configuration, weights and a card to the Hub as one commit.

        What an earlier push left that belongs to other weights goes with it: variants, graphs, figures, and its card.
        A card that somebody wrote or changed stays. With `variant`, the weights are one more form of those that are
        there: all else stays.

        Args:
            repo_id: `"user/name"`; made where there is none.
            commit_message: by default `"Upload <class>"`.
            private: make a new repository private.
            token: one with write access; by default the stored one.
            create_pr: open a pull request instead.
            revision: branch, made where there is none; by default the main one.
            variant: part of the weight files' names, such as `"fp16"`.
            subfolder: where to inside the repository; without a card then.
            license: as the Hub spells it, such as `"apache-2.0"`; for the card.

        Returns:
            [`Published`]: the address and the commit.

        Raises:
            ValueError: the Hub refused, or there is no connection; the message says what to do.
        """
        from cyclegan_hf.hub.card import is_untouched, published_card
        from cyclegan_hf.hub.upload import Target, upload

        prefix = f"{subfolder.strip('/')}/" if subfolder else ""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, variant=variant)  # type: ignore[attr-defined]
            paths = [path for path in Path(folder).rglob("*") if path.is_file()]
            files: dict[str, Path | bytes] = {prefix + path.relative_to(folder).as_posix(): path for path in paths}
            if not prefix:
                card = published_card(self._card(), repo_id, revision=revision, license=license)
                files["README.md"] = card.encode()
            return upload(
                Target(
                    repo_id=repo_id,
                    private=private,
                    revision=revision,
                    create_pr=create_pr,
                    token=token,
                    marker=self._marker() if not prefix else None,
                ),
                files,
                commit_message or f"Upload {type(self).__name__}",
                replaces=[] if variant else [prefix + pattern for pattern in self._replaced()],
                keeps={"README.md": lambda card: bool(variant) or not is_untouched(card)},
            )

    def _card(self) -> str:
        from cyclegan_hf.hub.card import network_card

        return network_card(self)

    def _marker(self) -> tuple[str, str]:
        return "config.json", f'"{type(self).__name__}"'

    def _replaced(self) -> list[str]:
        """Return patterns of what an earlier push may have left that wouldn't belong to these weights."""
        return [_ALL_WEIGHTS, f"{_ALL_WEIGHTS}.index.json", GRAPH_NAME]


class NetworkMixin(PushMixin):
    """Base class of all networks, beside diffusers' `ModelMixin` and `ConfigMixin`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Load a network from a folder or the Hub, as diffusers does; check Hub files by their hashes too.

        Args:
            pretrained_model_name_or_path: a folder or a Hub id.
            **kwargs: `subfolder`, `revision`, `variant`, `token`, `cache_dir`, `local_files_only` and the others of
                diffusers' `ModelMixin.from_pretrained`.

        Raises:
            ValueError: the Hub has no such network, or it cannot be had; the message says what to do.
        """
        from cyclegan_hf.hub.download import RepoFiles
        from cyclegan_hf.hub.errors import HubError, no_folder_either
        from cyclegan_hf.hub.ids import is_hub_id

        name = os.fspath(pretrained_model_name_or_path)
        weights_file = weights_name(kwargs.get("variant"))
        if is_hub_id(name):
            hub = ("revision", "token", "cache_dir", "local_files_only", "force_download")
            files = RepoFiles(name, **{key: kwargs[key] for key in hub if kwargs.get(key) is not None})
            prefix = f"{kwargs['subfolder'].strip('/')}/" if kwargs.get("subfolder") else ""
            try:
                files.get(f"{prefix}config.json")
            except HubError as error:
                raise no_folder_either(error, name) from error
            files.get(prefix + weights_file)
            kwargs |= {"revision": files.commit, "force_download": False}
            folder = files.get(f"{prefix}config.json").parent
        else:
            folder = Path(name) / (kwargs.get("subfolder") or ".")
        config, weights = folder / "config.json", folder / weights_file
        if config.is_file() and weights.is_file():
            settings = {key: value for key, value in read_json(config).items() if not key.startswith("_")}
            try:
                check_against_weights(cls, settings, read_shapes(weights))  # type: ignore[arg-type]
            except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, SafetensorError) as error:
                raise ValueError(f"{folder}: cannot load `{cls.__name__}` ({one_line(error, 300)})") from error
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]
