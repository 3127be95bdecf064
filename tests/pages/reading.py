"""What a page says and offers, as its tests read it."""

import re

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

KINDS = ("title", "header", "markdown", "code", "info", "warning", "error", "caption", "text_area")


def plain(text: object) -> str:
    """Without Markdown's escapes."""
    return str(text).replace("\\", "")


def texts(app: AppTest) -> str:
    """Everything written on the page, without Markdown's escapes. What was escaped twice would show its backslashes."""
    written = markdown(app)
    assert r"\\\." not in written, written
    return plain(written)


def markdown(app: AppTest) -> str:
    """Everything written on the page, as it is sent to the browser."""
    written = [str(element.value) for kind in KINDS for element in app.get(kind)]
    written += [f"{metric.label}: {metric.value}" for metric in app.metric]
    written += [f"{link.proto.label} -> {link.proto.url}" for link in app.get("link_button")]
    written += [f"{link.proto.label} => {link.proto.page}?{link.proto.query_string}" for link in app.get("page_link")]
    written += [bar.proto.text for bar in app.get("progress")]
    written += [re.sub("<style>.*</style>|<[^>]+>", "", html.proto.body, flags=re.S) for html in app.get("html")]
    return "\n".join(written)


def toasts(app: AppTest) -> list[str]:
    """What the toasts say."""
    return [plain(each.value) for each in app.toast]


def button(app: AppTest, label: str) -> Button:
    """The one button with this label."""
    (found,) = [each for each in app.button if plain(each.label) == label]
    return found


def labels(app: AppTest) -> list[str]:
    """Labels of all buttons and page links."""
    return [each.label for each in app.button] + [each.proto.label for each in app.get("page_link")]
