"""The command line's verbs that talk to the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional


Repo = Annotated[Positional[str], tyro.conf.arg(metavar="USER/NAME", help_behavior_hint="")]
Variants = Annotated[
    tuple[Literal["fp16", "bf16"], ...], tyro.conf.arg(metavar="fp16|bf16 ...", help_behavior_hint="(default: fp16)")
]


def push(
    model: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")],
    repo_id: Repo,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    license: str | None = None,
    variants: Variants = ("fp16",),
    discriminators: bool = False,
    training_state: bool = False,
) -> int:
    """Push a pipeline's folder to the Hub: weights, card, recipe, figures and sample grids, as one commit.

    For example:
        cyclegan-hf push runs/s2w user/summer2winter --license cc-by-4.0
        cyclegan-hf push runs/s2w/checkpoint-5000 user/summer2winter --revision trial --training-state
        cyclegan-hf push horse2zebra user/horse2zebra --private --variants fp16 bf16

    Log in first, with `hf auth login`. The folder is loaded before anything is sent, and not changed. Sample grids
    (grid-*.jpg) show pictures that the model was tested on: remove them where those are not to be published.

    Args:
        model: What the training, `cyclegan-hf convert` or `save_pretrained` wrote.
        repo_id: The repository; made where there is none.
        private: Make a new repository private.
        revision: Branch to push to, made where there is none; by default main.
        create_pr: Open a pull request instead, which needs no right to write to the repository.
        commit_message: By default one that names the domains.
        license: The model's, as the Hub spells it: apache-2.0, cc-by-nc-4.0, other.
        variants: Half-precision copies of float32 weights to add; none with an empty list.
        discriminators: Push them too.
        training_state: Push what a run needs to go on; of a checkpoint.
    """
    from cyclegan_hf.pipelines.push import push_pipeline

    published = push_pipeline(
        model,
        repo_id,
        private=private or None,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message,
        license=license,
        variants=variants,
        discriminators=discriminators,
        training_state=training_state,
    )
    print(published)
    return 0


def push_space(
    repo_id: Repo,
    *,
    model: Annotated[str | None, tyro.conf.arg(metavar="USER/NAME")] = None,
    private: bool = False,
    hardware: str | None = None,
    commit_message: str | None = None,
) -> int:
    """Push the page to the Hub as a Gradio Space that shows a model.

    For example:
        cyclegan-hf push-space user/winter-page --model user/summer2winter
        cyclegan-hf push-space user/winter-page --model user/summer2winter --private --hardware cpu-upgrade

    The Space gets this library's wheel and the variable CYCLEGAN_MODEL; its secrets and other variables are not
    touched. The page of a private model needs the secret HF_TOKEN, set on the Space's settings page.

    Args:
        repo_id: The Space; made where there is none.
        model: Hub id of the pipeline; by default the bundled weights.
        private: Make a new Space private.
        hardware: Of a new Space, such as cpu-basic or cpu-upgrade; by default the Hub's default.
        commit_message: By default one that names the model.
    """
    from cyclegan_hf.hub.space import push_space

    print(push_space(repo_id, model=model, private=private, hardware=hardware, commit_message=commit_message))
    return 0


def dataset(
    action: Annotated[Positional[Literal["push"]], tyro.conf.arg(metavar="push", help_behavior_hint="")],
    folder_a: Annotated[Positional[Path], tyro.conf.arg(metavar="A", help_behavior_hint="")],
    folder_b: Annotated[Positional[Path], tyro.conf.arg(metavar="B", help_behavior_hint="")],
    repo_id: Repo,
    *,
    license: str,
    test_a: Path | None = None,
    test_b: Path | None = None,
    domain_a: str | None = None,
    domain_b: str | None = None,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    allow_outside_files: bool = False,
) -> int:
    """Push two folders of pictures to the Hub as one unpaired data set (`cyclegan-hf dataset push A B user/name`).

    For example:
        cyclegan-hf dataset push summer winter user/seasons --license cc-by-4.0
        cyclegan-hf dataset push trainA trainB user/seasons --test-a testA --test-b testB --domain-a summer --domain-b winter --license cc0-1.0

    The pictures' files go as they are, with what their cameras wrote into them. Each split is a configuration:
    trainA, trainB, testA, testB. Train from it with --data.a user/seasons,config=trainA and so on.

    Args:
        action: What to do with the data set.
        folder_a: Training pictures of domain A, with sub-folders.
        folder_b: Training pictures of domain B.
        repo_id: The data set; made where there is none.
        license: The pictures', as the Hub spells it: cc0-1.0, cc-by-4.0, other.
        test_a: Test pictures of domain A.
        test_b: Test pictures of domain B.
        domain_a: Name of domain A; by default the folder's.
        domain_b: Name of domain B; by default the folder's.
        private: Make a new data set private.
        revision: Branch to push to, made where there is none; by default main.
        create_pr: Open a pull request instead.
        commit_message: By default one that counts the pictures.
        allow_outside_files: Push the files outside of the folders that links in them lead to.
    """  # noqa: E501
    from cyclegan_hf.hub.data import push_dataset

    published = push_dataset(
        folder_a,
        folder_b,
        repo_id,
        license=license,
        test_a=test_a,
        test_b=test_b,
        domain_a=domain_a,
        domain_b=domain_b,
        private=private or None,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message,
        allow_outside_files=allow_outside_files,
    )
    print(published)
    return 0


def info(
    model: Annotated[Positional[str | None], tyro.conf.arg(metavar="[FOLDER|USER/NAME]")] = None,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Say what a checkpoint is: architecture, domains, training, figures. Of the Hub, no weights are fetched.

    For example:
        cyclegan-hf info
        cyclegan-hf info runs/s2w --subfolder best
        cyclegan-hf info user/summer2winter --revision v2 --json

    Args:
        model: Folder or Hub id of a pipeline; by default the weights that come with the library.
        revision: Branch, tag or commit on the Hub.
        subfolder: Where the pipeline is inside the folder or the repository.
        as_json: Print JSON.
    """
    from cyclegan_hf.hub.info import describe, in_words

    facts = describe(model, revision=revision, subfolder=subfolder)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else in_words(facts))
    return 0
