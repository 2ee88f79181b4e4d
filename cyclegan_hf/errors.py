"""Errors told in one line."""


def one_line(error: BaseException, max_length: int | None = None) -> str:
    """An exception's message on one line; the exception's name where it has none.

    Args:
        error: The exception.
        max_length: Characters after which the message is cut, for those of other libraries, which may go on for pages.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if max_length is None or len(text) <= max_length else f"{text[: max_length - 1]}…"
