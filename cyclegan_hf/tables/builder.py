"""Opening data sets with `datasets`: what a stranger's repository may make it read is checked first.

A repository's card chooses the files that are its data, and `datasets` follows it anywhere: to other repositories, to
other servers and to this machine's files. Its formats include some whose files refer to others (HDF5, Lance).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cyclegan_hf.errors import one_line
from cyclegan_hf.regular_files import is_regular_file
from cyclegan_hf.tables.access import TableAccess, is_below, real_folders


FORMATS = ("parquet", "arrow", "webdataset", "imagefolder", "csv", "json")
"""The packaged modules of `datasets` that are used: their files hold their data, or name files in plain cells."""
_CARDS = ("README.md", ".huggingface.yaml")
_CARD_BYTES = 20_000_000
_REPO = re.compile(r"hf://datasets/[^/]+/[^/@]+(@[^/]+)?/")


def open_builder(
    place: str,
    config: str | None = None,
    *,
    data_files: Any = None,
    revision: str | None = None,
    token: str | None = None,
    everything: bool = False,
    flag: str = "--allow-outside-files",
) -> Any:
    """Return the `datasets.DatasetBuilder` of a data set; only its list of files is read.

    Args:
        place: A Hub id, a folder, or with `data_files` one of [`FORMATS`].
        config: The configuration.
        data_files: Files that the user named.
        revision: A branch, tag or commit on the Hub.
        token: A token for the Hub.
        everything: Let a card name files outside of its repository or folder.
        flag: The flag that sets `everything`, for messages.

    Raises:
        ValueError: The card names files elsewhere, or the data are of another format.
        Exception: What `datasets` raises where it cannot be read.
    """
    from datasets import load_dataset_builder

    if data_files is not None:
        return load_dataset_builder(place, config, data_files=data_files, token=token)
    if not everything:
        for name, text in _cards(place, revision, token):
            _check_card(name, text, flag)
    builder = load_dataset_builder(place, config, revision=revision, token=token)
    kind = builder.__class__.__module__.rsplit(".", 1)[-1]
    if kind not in (*FORMATS, "cache"):  # `cache`: what was downloaded before, where the Hub cannot be reached
        raise ValueError(f"expected data in a format of {', '.join(FORMATS)}, got {kind}")
    if not everything:
        _check_files(builder, place, flag)
    return builder


def keep_bytes(builder: Any) -> None:
    """Let the columns of files in tar archives (webdataset) be plain bytes, whenever the builder reads them next.

    `datasets` drops a member's bytes if this machine has a file of the member's name, and then reads that file.
    """
    from datasets import Features, Value
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    if isinstance(builder, WebDataset):
        columns = builder.info.features.items()
        builder.info.features = Features(
            {name: Value("binary") if hasattr(kind, "embed_storage") else kind for name, kind in columns}
        )


def cause_of(error: Exception) -> Exception:
    """Return what made `datasets` say that "an error occurred while generating the dataset"."""
    while type(error).__name__ == "DatasetGenerationError" and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def unreachable(error: BaseException) -> str | None:
    """Return what to say of a place that is no folder here, where the Hub cannot be asked for it either.

    Args:
        error: What opening it raised.
    """
    text = one_line(error, 200)
    if not re.search(r"Couldn't reach|[Oo]ffline|[Cc]onnection|[Cc]onnect\b|timed out", text):
        return None
    return f"there is no such folder here, and the Hub cannot be asked for a data set of this name ({text})"


def is_folder(builder: Any) -> bool:
    """Return whether a data set is of single image files."""
    from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder

    return isinstance(builder, FolderBasedBuilder)


def access_of(
    builder: Any,
    split: str,
    place: str,
    root: Path | None,
    *,
    token: str | None = None,
    mapped: bool = False,
    everything: bool = False,
    flag: str = "--allow-outside-files",
) -> TableAccess:
    """Return what the cells of a data set's split may name.

    Args:
        builder: The data set.
        split: The split.
        place: Its name, for messages.
        root: The folder that the user named, or that the named files are in; none for data sets elsewhere.
        token: A token for the Hub.
        mapped: The split was downloaded, so that cells name the downloaded files.
        everything: Let cells name any file.
        flag: The flag that sets `everything`, for messages.
    """
    files = [str(file) for file in (builder.config.data_files or {}).get(split) or ()]
    access = TableAccess(place=place, everything=everything, flag=flag)
    if root is not None:
        tables = {os.path.dirname(os.path.abspath(file)) for file in files}
        begin = os.path.commonpath(tables) if tables else os.path.abspath(root)
        return replace(access, folders=real_folders(root), base=begin)
    folders = _downloaded(builder, files, token) if mapped and (is_folder(builder) or not files) else ()
    repos = {match[0] for file in files if (match := _REPO.match(file))}
    repo = next(iter(repos)) if len(repos) == 1 and all(map(_REPO.match, files)) else None
    parents = [posixpath.dirname(file[len(repo) :]) for file in files] if repo else []
    base = f"{repo}{posixpath.commonpath(parents)}" if repo else None
    archives = frozenset(file for file in files if file.endswith((".zip", ".gz", ".bz2", ".xz", ".zst", ".lz4")))
    return replace(access, repo=repo, base=base, files=archives, folders=folders)


def check_saved(folder: Path) -> None:
    """Check that a folder which `save_to_disk` wrote names its own files.

    Raises:
        ValueError: It names others.
    """
    import json

    for state in [folder / "state.json", *folder.glob("*/state.json")]:
        if not state.exists():
            continue
        try:
            found = json.loads(_read_card(state))["_data_files"]
            names = [str(file["filename"]) for file in found]
        except (KeyError, TypeError, ValueError, RecursionError, OSError) as error:
            raise ValueError(f"{state}: expected what `save_to_disk` writes ({type(error).__name__})") from error
        if wrong := [name for name in names if os.path.basename(name) != name or name in ("", ".", "..")]:
            raise ValueError(f"{state}: refused, it names {wrong[0]!r}, which is outside of the folder")


def _cards(place: str, revision: str | None, token: str | None) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the files that configure a data set."""
    if os.path.isdir(place):
        for name in _CARDS:
            if os.path.lexists(os.path.join(place, name)):
                yield name, _read_card(Path(place, name))
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in _CARDS:
        try:
            file = hf_hub_download(place, name, repo_type="dataset", revision=revision, token=token)
        except LocalEntryNotFoundError:  # offline
            return
        except EntryNotFoundError:
            continue
        except Exception:  # `datasets` asks for it again, and its errors are explained
            return
        yield name, _read_card(Path(file))


def _read_card(file: Path) -> str:
    if not is_regular_file(file) or file.stat().st_size > _CARD_BYTES:
        raise ValueError(f"{file}: expected a text file of at most {_CARD_BYTES // 1_000_000} MB")
    return file.read_text(encoding="utf-8", errors="replace")


def _check_card(name: str, text: str, flag: str) -> None:
    """Refuse a card whose data files are outside of the repository, before `datasets` looks for them."""
    import yaml

    if name.endswith(".md"):
        block = re.match(r"\s*---\r?\n(.*?)\r?\n---\s*(\r?\n|$)", text, re.DOTALL)
        text = block[1] if block else ""
    try:
        content = yaml.safe_load(text)
        patterns = list(_patterns(content, set(), named=False))
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise ValueError(f"{name}: its YAML cannot be read ({type(error).__name__})") from error
    for pattern in patterns:
        parts = re.split(r"[/\\]", pattern)
        if "://" in pattern or "::" in pattern or os.path.isabs(pattern) or ".." in parts or pattern[:1] == "~":
            raise ValueError(
                f"refused: its {name} names {pattern[:200]!r}, which is outside of the data set; `{flag}` opens it"
            )


def _patterns(content: Any, seen: set[int], named: bool) -> Iterator[str]:
    """Yield every text below a key `data_files` or `data_dir`; aliases are followed once."""
    if isinstance(content, str):
        if named:
            yield content
    elif isinstance(content, dict | list) and id(content) not in seen:
        seen.add(id(content))
        if isinstance(content, dict):
            for key, value in content.items():
                yield from _patterns(value, seen, named or key in ("data_files", "data_dir"))
        else:
            for value in content:
                yield from _patterns(value, seen, named)


def _check_files(builder: Any, place: str, flag: str) -> None:
    """Check that the files of a data set are its own: of the repository, or below the folder."""
    here = os.path.isdir(place)
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            if here:
                container = file.rpartition("::")[2]
                own = "://" not in container and is_below(
                    os.path.abspath(container), (os.path.abspath(place), os.path.realpath(place))
                )
            else:
                match = _REPO.match(file)
                repo = f"hf://datasets/{builder.repo_id or place}"
                own = match is not None and match[0].partition("@")[0].rstrip("/") == repo
                own = own and ".." not in file.split("/") and "::" not in file
            if not own:
                raise ValueError(
                    f"refused: it is said to be made of {file[:200]!r}, which is outside of it; `{flag}` opens it"
                )


def _downloaded(builder: Any, files: list[str], token: str | None) -> tuple[str, ...]:
    """Return the local folders that a dataset of single files was downloaded and unpacked to."""
    from datasets import DownloadConfig, DownloadManager
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folders: list[str] = []
    if not files and getattr(builder, "repo_id", None):
        folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=builder.repo_id, repo_type="dataset"))
        folders += [os.path.realpath(folder / "snapshots"), os.path.realpath(folder / "blobs")]
    for match in {match for file in files if (match := re.match(r"hf://datasets/([^/]+/[^/@]+)@([^/]+)/", file))}:
        folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=match[1], repo_type="dataset"))
        folders += [os.path.realpath(folder / "snapshots" / match[2]), os.path.realpath(folder / "blobs")]
    if archives := [file for file in files if file.endswith(".zip")]:
        manager = DownloadManager(download_config=DownloadConfig(token=token))
        folders += map(os.path.realpath, manager.download_and_extract(archives))
    return tuple(dict.fromkeys(folders))
