"""The tab that tells what the page is, what it keeps and where its limits are."""

import gradio as gr
from settings import (
    MAX_BATCH,
    MAX_CLIP_SECONDS,
    MAX_FILE_MB,
    MAX_PIXELS,
    MAX_UPLOAD_MB,
)


ABOUT = f"""
## What this is
A CycleGAN ([Zhu, Park, Isola and Efros, 2017](https://arxiv.org/abs/1703.10593)): two networks learned from two
collections of pictures, each the other's way back. The bundled ones also saw rendered landscapes in both seasons. They
know colours and textures. They do not know what is in a picture, so that shapes stay what they are, and pictures of
another kind than those they learned from come out odd. Show nobody a result as if it were a photograph of something
that happened.

## What happens to your pictures
They are translated on the machine that serves this page, sent nowhere else, looked at by nobody, and deleted within
the hour. Nobody counts visits.

## Limits
Photos of up to {MAX_FILE_MB} MB and {MAX_PIXELS // 10**6} megapixels; in one batch up to {MAX_BATCH} of them;
videos of up to {MAX_CLIP_SECONDS} seconds and {MAX_UPLOAD_MB} MB. Others may be waiting: the queue shows your place.

## For programs
Each tab has an endpoint (*Use via API*, below): `/translate`, `/translate_batch`, `/translate_video` and `/models`.

```
from gradio_client import Client, handle_file

client = Client("ADDRESS")  # of this page
path = client.predict(photo=handle_file("photo.jpg"), direction="summer2winter", long_side=1024, api_name="/translate")
```

## Licence
The page, the library `cyclegan_hf`, the bundled weights and the examples are under the Apache License 2.0. Other
models have their own.
"""


def about_tab() -> None:
    """Build the tab."""
    gr.Markdown(ABOUT, elem_id="about")
