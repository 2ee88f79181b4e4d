"""How the page looks."""

import gradio as gr
from settings import HERE


# Gradio's bundled font lacks letters, and the soft theme's light blues are too pale to read. `set` forgets the theme's
# background (it looks under another name), so it is repeated.
THEME = gr.themes.Soft(
    primary_hue="sky",
    secondary_hue="sky",
    neutral_hue="slate",
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    background_fill_primary="*neutral_50",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    block_label_text_color="*primary_800",
    block_label_background_fill_dark="*primary_700",
    block_title_text_color="*primary_800",
    block_title_background_fill_dark="*primary_700",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
)

CSS = (HERE / "page.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")

# On a phone the result is above the controls. (`scroll_to_output` does nothing for an image slider.) The arguments go
# on to the server as they came.
SCROLL_TO_RESULT = """(...values) => {
    const result = document.querySelector("#result");
    const { top, bottom } = result.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight + 40) result.scrollIntoView({ behavior: "smooth", block: "start" });
    return values;
}"""
