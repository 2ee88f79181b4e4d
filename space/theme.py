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

CSS = """
#examples > .gallery { display: grid; grid-template-columns: repeat(6, 1fr); }
#examples .gallery-item > span { display: block; width: 100%; }
#examples .container, #examples img { width: 100%; max-width: none; height: auto; max-height: none; }
@media (max-width: 640px) { #examples > .gallery { grid-template-columns: repeat(3, 1fr); } }
button[role=tab][aria-selected=true] { color: var(--primary-800) !important; }
.dark button[role=tab][aria-selected=true] { color: var(--primary-300) !important; }
#facts :is(table, thead, tbody, tr) { border: 0 !important; }
table.facts { border-collapse: collapse; width: 100%; overflow-wrap: anywhere; }
#facts table.facts :is(th, td) { text-align: left; padding: 0.35em 1em 0.35em 0; vertical-align: top;
    border: 0; border-bottom: 1px solid var(--border-color-primary); font-weight: normal; }
table.facts th { width: 12em; color: var(--body-text-color-subdued); }
@media (max-width: 640px) { table.facts th { width: 8em; } }
#card table { display: block; overflow-x: auto; }
#card :is(th, td) { overflow-wrap: normal; word-break: normal; }
#card td { min-width: 5em; }
#card pre .token { color: inherit !important; }
"""

# On a phone the result is below the controls, and gets its height with its pictures. (`scroll_to_output` does
# nothing for an image slider.)
SCROLL_TO_RESULT = """() => setTimeout(() => {
    const result = document.querySelector("#result");
    if (result.getBoundingClientRect().top > innerHeight / 3) result.scrollIntoView({behavior: "smooth"});
}, 300)"""

ACCESSIBILITY = (HERE / "accessibility.js").read_text(encoding="utf-8")
