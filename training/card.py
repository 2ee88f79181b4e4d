"""The model card that a run writes beside its weights."""

from typing import Any

from huggingface_hub import ModelCardData

from training.config import TrainConfig


def model_card(config: TrainConfig, facts: dict[str, Any], counts: dict[str, int]) -> str:
    """The card as Markdown with metadata: what the model translates, how it was trained, how to use it.

    Args:
        config: The resolved configuration.
        facts: What the checkpoint records of the run: step, epoch, seconds, precision, device.
        counts: Training pictures of domains `"a"` and `"b"`.
    """
    a, b = config.data.domain_a, config.data.domain_b
    run = config.run
    data = ModelCardData(
        library_name="cyclegan_hf",
        pipeline_tag="image-to-image",
        tags=["cyclegan", "image-to-image", "diffusers", "unpaired-image-translation"],
    )
    generator = ", ".join(f"{key}={value}" for key, value in config.generator.items() if key != "_class_name")
    average = f"average with decay {config.ema.decay}" if config.ema.decay else "none: the weights as trained"
    hours = facts["seconds"] / 3600
    return f"""---
{data.to_yaml()}
---

# {a} ↔ {b}

A CycleGAN (Zhu et al. 2017) that translates pictures of *{a}* into *{b}* and back, trained on unpaired pictures with
`cyclegan_hf`.

```python
from cyclegan_hf import CycleGANPipeline

pipe = CycleGANPipeline.from_pretrained("path/or/hub-id/of/this/model")
image = pipe("photo.jpg", direction="{a}2{b}").images[0]
```

| | |
|---|---|
| generators | {config.generator["_class_name"]}({generator}) |
| pictures | {counts["a"]} of {a}, {counts["b"]} of {b} |
| crops | {config.data.image_size} × {config.data.image_size} pixels, loaded at {config.data.load_size[0]} to {config.data.load_size[1]} |
| trained | {facts["step"]} steps of {run.train_batch_size * run.gradient_accumulation_steps * facts["num_processes"]} |
| weights | {average} |
| losses | {config.losses.adversarial}, cycle {config.losses.lambda_a:g} / {config.losses.lambda_b:g}, identity {config.losses.lambda_identity:g} of these |
| optimiser | Adam {config.optimizer.learning_rate:g} ({config.optimizer.adam_beta1:g}, {config.optimizer.adam_beta2:g}), {config.lr_scheduler.type} rate |
| compute | {hours:.2f} hours on {facts["num_processes"]} × {facts["device"]} ({facts["threads"]} threads), {facts["mixed_precision"].replace("no", "fp32")} |

`recipe.yaml` beside this card holds every setting.
"""  # noqa: E501
