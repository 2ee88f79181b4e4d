"""The page as a Space: `space/`, this library's wheel, and the model's name.

A Space installs its requirements before it sees its other files, so that a path to the wheel would lead nowhere; the
requirement is the wheel's address in the Space, with its hash. Nobody may fetch that from a private Space: there the
package lies beside `app.py` instead.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, SpaceCard

from cyclegan_hf.errors import one_line
from cyclegan_hf.hub.download import RepoFiles
from cyclegan_hf.hub.errors import ask_hub, page
from cyclegan_hf.hub.ids import is_hub_id
from cyclegan_hf.hub.upload import Published, Target, open_repo, upload
from cyclegan_hf.hub.wheel import PACKAGE, build_wheel, package_files, space_folder
from cyclegan_hf.saved_format import INDEX_NAME, read_json


VARIABLE = "CYCLEGAN_MODEL"
MARKER = ("README.md", "cyclegan")


def push_space(
    repo_id: str,
    *,
    model: str | None = None,
    private: bool = False,
    hardware: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> Published:
    """Push the page as a Gradio Space.

    The Space's variable `CYCLEGAN_MODEL` names the model; its secrets and its other variables are not touched.

    Args:
        repo_id: `"user/name"`; made where there is none.
        model: Hub id of the pipeline that the page shows; by default the bundled weights.
        private: Make a new Space private.
        hardware: Of a new Space, such as `"cpu-upgrade"`; by default the Hub's default.
        commit_message: By default one that names the model.
        token: One with write access; by default the stored one.

    Returns:
        [`Published`]: The address and the commit.

    Raises:
        ValueError: The Hub has no such model, or refused.
    """
    names = ("summer", "winter") if model is None else _domains(model, token)
    target = Target(
        repo_id=repo_id,
        repo_type="space",
        private=private or None,
        token=token,
        marker=MARKER,
        space_hardware=hardware,
    )
    source = space_folder()
    files: dict[str, Path | bytes] = dict(package_files(source))
    requirements = (source / "requirements.txt").read_text(encoding="utf-8").rstrip("\n")
    with tempfile.TemporaryDirectory(prefix="cyclegan-hf-space-") as temporary:
        wheel = build_wheel(Path(temporary))
        repo_id = open_repo(target)
        api = HfApi(token=token)

        def settle() -> bool | None:
            if model is not None:
                api.add_space_variable(repo_id, VARIABLE, model, description="The weights that the page shows")
            return api.space_info(repo_id).private

        hidden = ask_hub(settle, repo_id, repo_type="space", writing=True)
        if hidden:
            files |= {f"cyclegan_hf/{name}": path for name, path in package_files(PACKAGE).items()}
        else:
            files[wheel.name] = wheel
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            address = f"{page(repo_id, 'space')}/resolve/main/{wheel.name}#sha256={digest}"
            requirements += f"\ncyclegan_hf @ {address}"
        files["requirements.txt"] = f"{requirements}\n".encode()
        if model is not None:
            card = space_card((source / "README.md").read_text(encoding="utf-8"), repo_id, model, names)
            files["README.md"] = card.encode()
        message = commit_message or f"The page, with {model or 'the bundled weights'}"
        return upload(target, files, message, replaces=["cyclegan_hf-*.whl", "cyclegan_hf/*"], opened=repo_id)


def space_card(template: str, repo_id: str, model: str, domains: tuple[str, str]) -> str:
    """Return a Space's README: the template's front matter with another model, and a few lines of its own.

    Args:
        template: The page's own README.
        repo_id: The Space.
        model: Hub id of its model.
        domains: Names of the model's domains.
    """
    a, b = domains
    data: Any = SpaceCard(template).data
    data.title = f"{a} ↔ {b}"
    data.short_description = f"A CycleGAN: {a} to {b} and back"[:60]  # the Hub takes no longer one
    data.models = [model]
    return f"""---
{data.to_yaml()}
---

# {a} ↔ {b}

A CycleGAN turns pictures of one kind into the other and back, with [{model}]({page(model)}). `app.py` is the page, the
variable `{VARIABLE}` names the model: a private one needs the secret `HF_TOKEN` with read access. Photos are deleted
within the hour, and nothing is sent elsewhere.

```python
from gradio_client import Client, handle_file

client = Client("{repo_id}")
result = client.predict(photo=handle_file("photo.jpg"), direction="a2b", long_side="1024", api_name="/translate")
```
"""


def _domains(model: str, token: str | None) -> tuple[str, str]:
    """Return the names of a model's domains, which also shows that the Hub has it.

    Raises:
        ValueError: It has not, or it is no pipeline of this library.
    """
    if not is_hub_id(model):
        raise ValueError(
            f"`model` must be a Hub id such as user/name, for a Space sees no folder of this machine; got {model}"
        )
    index = read_json(RepoFiles(model, token=token).get(INDEX_NAME))
    try:
        return str(index["domain_a"]), str(index["domain_b"])
    except KeyError as error:
        raise ValueError(f"{model}: expected a pipeline of this library ({one_line(error)} is missing)") from error
