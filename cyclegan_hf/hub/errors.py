"""Calls of the Hub's clients: with a time limit, again where the Hub is busy, and their errors in one line."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.timeouts import VARIABLE, answer_seconds, limit_requests


logger = logging.getLogger(__name__)

RepoType = Literal["model", "dataset", "space"]
Result = TypeVar("Result")

RETRY_SECONDS = (1, 2, 4, 8)
"""Pauses before a request is tried again that the Hub could not answer."""
PATIENCE_SECONDS = 90
"""After so long no further try begins: one alone takes a minute where the Hub never answers."""

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_UNKNOWN_TOKEN = (
    "the Hub does not know this token, which is wrong or has expired: `hf auth login` stores a new one (HF_TOKEN, "
    "where it is set, goes before it)"
)
_QUOTED = 300  # characters of the Hub's own message
_BUSY = (408, 429, 500, 502, 503, 504)


class HubError(ValueError):
    """A request to the Hub that failed; the message says what to do.

    Attributes:
        temporary: Whether the same request may succeed later.
        conflict: Whether somebody else's commit came first.
        busy: Whether the Hub itself answered that it is out of order for now.
    """

    def __init__(self, message: str, *, temporary: bool = False, conflict: bool = False, busy: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary
        self.conflict = conflict
        self.busy = busy


class Retries:
    """The pauses between the tries of one request.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._left = list(RETRY_SECONDS)

    def wait(self, error: HubError) -> None:
        """Pause before the next try.

        Raises:
            HubError: `error`, after the last one, or where the tries have taken too long.
        """
        if not self._left or self._clock() - self._began > PATIENCE_SECONDS:
            raise error
        logger.warning("%s; once more in %d s.", error, self._left[0])
        time.sleep(self._left.pop(0))


def ask_hub(
    request: Callable[[], Result],
    repo_id: str,
    *,
    repo_type: RepoType = "model",
    revision: str | None = None,
    writing: bool = False,
) -> Result:
    """Make a request to the Hub, and make it again where the Hub answers that it is busy (429, 500, 502, 503, 504).

    Args:
        request: Uses the Hub's clients.
        repo_id: The repository that it is about.
        repo_type: What it is.
        revision: The branch, tag or commit that was asked for.
        writing: Whether it writes; then it is made again without a connection too.

    Returns:
        What the request returns.

    Raises:
        HubError: It failed.
    """
    retries = Retries()
    while True:
        try:
            with hub_errors(repo_id, repo_type=repo_type, revision=revision, writing=writing):
                return request()
        except HubError as error:
            if not (error.busy or (writing and error.temporary)):
                raise
            retries.wait(error)


@contextlib.contextmanager
def hub_errors(
    repo_id: str, *, repo_type: RepoType = "model", revision: str | None = None, writing: bool = False
) -> Iterator[None]:
    """Turn what the Hub's clients raise within this block into a [`HubError`].

    Args:
        repo_id: The repository that the block is about.
        repo_type: What it is.
        revision: The branch, tag or commit that was asked for.
        writing: Whether the block writes to it.

    Raises:
        HubError: The clients raised anything.
    """
    try:
        limit_requests()
        yield
    except HubError:
        raise
    # OSError: theirs, and this machine's (a full disk); RuntimeError: hf_xet's; HTTPError: no connection.
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        raise _explained(error, repo_id, repo_type, revision, writing) from error


def no_folder_either(error: HubError, name: str) -> HubError:
    """Return the error of a name that was taken for a Hub id because there is no such folder, and say that first.

    Args:
        error: The Hub does not have it, or cannot be asked; any other error is returned as it is.
        name: What was asked for.
    """
    cause = error.__cause__
    if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
        return error
    asked = isinstance(cause, HfHubHTTPError) and not isinstance(cause, RepositoryNotFoundError)
    if asked or isinstance(cause, GatedRepoError) or error.busy:
        return error
    return HubError(f"{name}: there is no such folder here; as a Hub id, {error}", temporary=error.temporary)


def data_refusal(
    error: BaseException, repo_id: str, *, token: str | None = None, variable: str | None = None
) -> str | None:
    """Explain the Hub's refusal of a dataset and what to do; `None` if `error` has another cause.

    `datasets` passes on some refusals as they are, and of others keeps only a sentence: then the Hub is asked again.

    Args:
        error: What reading it raised.
        repo_id: The data set.
        token: The one that it was read with, where it is not the stored one.
        variable: Of the environment, which that token comes from.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__
    if cause is None and type(error).__name__ == "DatasetNotFoundError":
        try:
            limit_requests()
            HfApi().auth_check(repo_id, repo_type="dataset", token=token)
        except (HfHubHTTPError, HTTPError, OSError) as told:
            cause = told
    whose = f"`token={variable}`" if variable else "the stored token"
    known = (token or get_token()) is not None
    log_in = f"{LOG_IN}, or `token=` to a variable's name"
    match cause:
        case GatedRepoError():
            who = f"with the account of {whose}" if known else f"then {log_in}"
            return f"it is gated: ask for access at {page(repo_id, 'dataset')}, {who}"
        case RepositoryNotFoundError():
            who = f"and that the account of {whose} has access" if known else f"or {log_in}"
            return f"there is no such data set on the Hub, or it is private: check the name, {who}"
        case HfHubHTTPError() if cause.response.status_code == 401 and variable:
            return f"the Hub does not know the token in the variable {variable}, which is wrong or has expired"
        case HfHubHTTPError() if cause.response.status_code == 401:
            return _UNKNOWN_TOKEN
    return None


def page(repo_id: str, repo_type: RepoType = "model") -> str:
    """Return the repository's address."""
    return f"{constants.ENDPOINT}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"


def _explained(
    error: BaseException, repo_id: str, repo_type: RepoType, revision: str | None, writing: bool
) -> HubError:
    message = one_line(error, _QUOTED)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    told = (error.server_message if isinstance(error, HfHubHTTPError) else None) or message
    known = get_token() is not None
    temporary = status in _BUSY
    match error:
        case LocalTokenNotFoundError():
            text = f"the Hub needs to know who you are: {LOG_IN}"
        case OfflineModeIsEnabled() if writing:
            text = f"{repo_id}: HF_HUB_OFFLINE is set, which forbids any connection: unset it"
        case HFValidationError():
            text = f"{repo_id}: expected a name such as user/name, of letters, digits, '-', '_' and '.' ({message})"
        case LocalEntryNotFoundError() if isinstance(error.__cause__, Exception):
            return _explained(error.__cause__, repo_id, repo_type, revision, writing)
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            text = (
                f"{repo_id} is not (or not whole) in the cache, and `local_files_only` or HF_HUB_OFFLINE forbids to "
                "fetch it: load it once with a connection"
            )
        case GatedRepoError():
            who = "with the account of this token" if known else f"then {LOG_IN}"
            text = f"{repo_id} is gated: ask for access at {page(repo_id, repo_type)}, {who}"
        case RepositoryNotFoundError() if status == 401 and writing and not known:
            text = f"{repo_id}: the Hub needs to know who writes: {LOG_IN}"
        case RepositoryNotFoundError():
            who = "and that this token's account has access" if known else f"or {LOG_IN}"
            text = f"{repo_id}: there is no such {repo_type} on the Hub, or it is private: check the name, {who}"
        case RevisionNotFoundError():
            text = f"{repo_id} has no revision {revision or 'main'!r}: set `revision` to a branch, tag or commit of it"
        case EntryNotFoundError():
            text = f"{repo_id} has no file {_path(error)} at revision {revision or 'main'!r}"
        case HfHubHTTPError() if status == 401:
            text = _UNKNOWN_TOKEN
        case HfHubHTTPError() if status == 402:
            text = f"{repo_id}: the Hub asks for a paid plan: {told}"
        case HfHubHTTPError() if status == 403 and writing:
            text = (
                f"this token may not write to {repo_id} ({told}): take one with write access from "
                f"{constants.ENDPOINT}/settings/tokens, or a name of your own, or `--create-pr`"
            )
        case HfHubHTTPError() if status in (409, 412):
            text = f"{repo_id}: somebody else pushed at the same time ({told}); push again"
            return HubError(text, temporary=True, conflict=True)
        case HfHubHTTPError() if status == 429:
            text = f"the Hub asks to wait ({told}): try again later"
        case HfHubHTTPError() if temporary:
            text = f"{repo_id}: the Hub is out of order for now ({told}): try again later"
        case HfHubHTTPError():
            text = f"{repo_id}: the Hub refused ({told})"
        case HTTPError() if type(error).__name__ in ("ReadTimeout", "WriteTimeout") and writing:
            temporary = True
            text = (
                f"{repo_id}: the Hub at {constants.ENDPOINT} accepts connections and does not answer within "
                f"{answer_seconds():g} s: try again later, or set {VARIABLE} to more seconds"
            )
        case HTTPError() | ConnectionError() | TimeoutError():
            temporary = True
            cache = "" if writing else "; with HF_HUB_OFFLINE=1, what was fetched before loads without it"
            text = f"{repo_id}: no connection to the Hub at {constants.ENDPOINT} ({message}): try again later{cache}"
        case OSError(errno=errno.ENOSPC):
            text = f"no space left ({message}): free some, or set HF_HOME to a larger disk"
        case _:
            temporary = isinstance(error, RuntimeError)
            text = f"{repo_id}: {message}"
    return HubError(text, temporary=temporary, busy=status in _BUSY)


def _path(error: EntryNotFoundError) -> str:
    """Return the file of a request."""
    url = str(error.response.url) if isinstance(error, HfHubHTTPError) else ""
    match = re.search(r"/(?:resolve|raw)/[^/]+/(.+?)(?:\?|$)", url)
    return match[1] if match else "of that name"
