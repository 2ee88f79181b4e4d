"""The model card that a run writes beside its weights."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from training.config import TrainConfig
from training.data.notation import hub_ids


def model_card(config: TrainConfig, facts: dict[str, Any], counts: dict[str, int | None]) -> str:
    """The card as Markdown with metadata: what the model translates, how it was trained, how to use it.

    The metadata (Hub documentation, "Model Cards") name data sets and a model that the run started from where they are
    on the Hub; folders of this machine are not named. The licence is left to whoever publishes the model, as a comment
    there says: it depends on the pictures.

    Args:
        config: The resolved configuration.
        facts: What the checkpoint records of the run: step, seconds, precision, device, versions.
        counts: Training pictures of domains `"a"` and `"b"`, where they are known.
    """
    a, b = config.data.domain_a, config.data.domain_b
    run = config.run
    data = ModelCardData(
        library_name="cyclegan_hf",
        pipeline_tag="image-to-image",
        datasets=hub_ids(config.data.a, config.data.b) or None,
        base_model=next(iter(_hub_ids(run.warm_start)), None),
        tags=["cyclegan", "image-to-image", "diffusers", "unpaired-image-translation"],
    )
    generator = ", ".join(f"{key}={value}" for key, value in config.generator.items() if key != "_class_name")
    average = f"average with decay {config.ema.decay}" if config.ema.decay else "none: the weights as trained"
    hours = facts["seconds"] / 3600
    return f"""---
{data.to_yaml()}
# license: yours to add; it depends on the pictures that this model was trained on
---

# {a} ↔ {b}

A CycleGAN ([Zhu et al. 2017](https://arxiv.org/abs/1703.10593)) that translates pictures of *{a}* into *{b}* and back, trained on unpaired pictures with
`cyclegan_hf`.

```python
from cyclegan_hf import CycleGANPipeline

pipe = CycleGANPipeline.from_pretrained("path/or/hub-id/of/this/model")
image = pipe("photo.jpg", direction="{a}2{b}").images[0]
```

| | |
|---|---|
| generators | {config.generator["_class_name"]}({generator}) |
| pictures | {counts["a"] or "an unknown number"} of {a}, {counts["b"] or "an unknown number"} of {b} |
| crops | {config.data.image_size} × {config.data.image_size} pixels, loaded at {config.data.load_size[0]} to {config.data.load_size[1]} |
| trained | {facts["step"]} steps of {run.train_batch_size * run.gradient_accumulation_steps * facts["num_processes"]} |
| weights | {average} |
| losses | {config.losses.adversarial}, cycle {config.losses.lambda_a:g} / {config.losses.lambda_b:g}, identity {config.losses.lambda_identity:g} of these |
| optimiser | Adam {config.optimizer.learning_rate:g} ({config.optimizer.adam_beta1:g}, {config.optimizer.adam_beta2:g}), {config.lr_scheduler.type} rate |
| compute | {hours:.2f} hours on {facts["num_processes"]} × {facts["device"]} ({facts["threads"]} threads), {facts["mixed_precision"].replace("no", "fp32")} |
| software | cyclegan_hf {facts["cyclegan_hf"]}, torch {facts["torch"]}, seed {run.seed} |

`recipe.yaml` beside this card holds every setting.
"""  # noqa: E501


def _hub_ids(*sources: str | None) -> list[str]:
    """Those sources that are ids on the Hub, once each; what is a path of this machine is left out."""
    ids = [source for source in sources if source and source.count("/") == 1 and source[0] not in "./~"]
    return [source for source in dict.fromkeys(ids) if not source.endswith("/") and not Path(source).exists()]
