"""What lies where in a pipeline's repository.

```
README.md, model_index.json, pipeline.py, grid-*.jpg
recipe.yaml, training.json, metrics.json, report.md, conversion.json
generator_a2b/, generator_b2a/     config.json, diffusion_pytorch_model[.fp16|.bf16].safetensors, model.onnx
discriminator_a/, discriminator_b/ only on request
training_state/                    only on request
```
"""

RECORDS = ("recipe.yaml", "training.json", "metrics.json", "report.md", "conversion.json")
GRIDS = ("grid*.jpg", "grid*.png", "grid*.webp")
GENERATORS = ("generator_a2b", "generator_b2a")
DISCRIMINATORS = ("discriminator_a", "discriminator_b")
STATE_FOLDER = "training_state"

REPLACED = [f"{part}/*" for part in (*GENERATORS, *DISCRIMINATORS, STATE_FOLDER)] + [*RECORDS, *GRIDS, "pipeline.py"]
"""What an earlier push may have left that would not belong to these weights."""
