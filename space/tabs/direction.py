"""The choice of a direction, which each tab has."""

from typing import Any

import gradio as gr
from checkpoints import Checkpoint


def direction_choice(checkpoint: Checkpoint, **settings: Any) -> gr.Radio:
    """Return the choice between a model's directions; the first one is chosen."""
    choices = [(label, name) for name, label in checkpoint.labels.items()]
    return gr.Radio(choices, value=choices[0][1], label="Direction", **settings)
