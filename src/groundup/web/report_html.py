"""A small vocabulary for pages: elements that escape by construction, numbers with units, tables, cards, figures.

A string is text and is escaped; only `Markup`, which `element` returns, is taken as it is. A number is shown rounded
and carries its exact value, `<data value="1.2573...">1.257</data>`, so that a page can be read back by a program.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.web.report_style import CSS
from groundup.web.report_text import SPACE, duration_text, points_text, short_text, size_text, visible

DASH = "–"  # what is not known
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
VOID = ("meta", "link")
INTERVAL = f"95{SPACE}% interval"


class Markup(str):
    """Text that is HTML already; made by this module and by `plots` only, never from data."""

    __slots__ = ()


Child = str | Sequence["Child"] | None


def element(tag: str, *children: Child, **attributes: str) -> Markup:
    """An HTML element; strings are escaped, None is left out, `class_` is `class` and `aria_label` is `aria-label`."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    opening = "".join(f' {key}="{clean(value)}"' for key, value in named.items())
    return Markup(f"<{tag}{opening}>" if tag in VOID else f"<{tag}{opening}>{join(*children)}</{tag}>")


def join(*children: Child) -> Markup:
    """Children after one another, escaped where they are text."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(clean(child))
        elif child is not None:
            parts.append(join(*child))
    return Markup("".join(parts))


def clean(text: str) -> str:
    """Escape text for HTML, in elements and in attributes."""
    return html.escape(visible(text), quote=True)


def data(value: float | None, shown: str) -> Markup:
    """A number with its exact value; a dash where it is not known."""
    return Markup(DASH) if value is None else element("data", shown, value=repr(value))


def whole(value: float | None) -> Markup:
    """1234567 -> 1,234,567."""
    return data(value, f"{value or 0:,.0f}")


def short(value: float | None) -> Markup:
    """6900000 -> 6.9 M."""
    return data(value, short_text(value or 0))


def decimal(value: float | None, digits: int = 3) -> Markup:
    return data(value, f"{value or 0:.{digits}f}")


def percent(value: float | None, digits: int = 1) -> Markup:
    """A share of 1 in percent."""
    return data(value, f"{100 * (value or 0):.{digits}f}{SPACE}%")


def between(low: float | None, high: float | None) -> Child:
    """The bounds of a share, in percent."""
    return DASH if low is None or high is None else [data(low, f"{100 * low:.1f}"), " to ", percent(high)]


def points(value: float | None) -> Markup:
    """A difference of shares in percentage points, with its sign."""
    return data(value, points_text(value or 0))


def change(value: float | None) -> Markup:
    """A relative change in percent, with its sign."""
    return data(value, f"{100 * (value or 0):+.1f}{SPACE}%".replace("-", "−"))


def size(value: float | None) -> Markup:
    return data(value, size_text(value or 0))


def duration(seconds: float | None) -> Markup:
    return data(seconds, duration_text(seconds or 0))


@dataclass(frozen=True)
class Column:
    """A table column; numbers stand on the right."""

    header: str
    numeric: bool = False


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Child]], emphasis: int | None = None
) -> Markup:
    """A table whose first column names its rows; the row number `emphasis` is set bold."""
    head = [element("th", column.header, scope="col", class_=_alignment(column)) for column in columns]
    body = []
    for index, row in enumerate(rows):
        first, *rest = zip(columns, row, strict=True)
        cells = [element("th", first[1], scope="row")]
        cells += [element("td", cell, class_=_alignment(column)) for column, cell in rest]
        body.append(element("tr", *cells, class_="emphasis" if index == emphasis else "plain"))
    inner = element(
        "table", element("caption", caption), element("thead", element("tr", *head)), element("tbody", *body)
    )
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


def card(label: str, value: Child, note: Child) -> Markup:
    """A key number with what it is and what it compares with."""
    return element(
        "div", element("dt", label), element("dd", value, class_="value"), element("dd", note, class_="note")
    )


def figure(title: str, svg: str, caption: Child) -> Markup:
    """A plot (from `plots`) under its title, with a caption that says what it shows."""
    return element("figure", element("h3", title), Markup(svg), element("figcaption", caption))


def panels(*figures: Child) -> Markup:
    """Figures and tables side by side, or one below the other where there is no room."""
    return element("div", *figures, class_="panels")


def prose(*children: Child) -> Markup:
    return element("p", *children)


def facts(pairs: Sequence[tuple[str, Child]], *, twice: bool = False) -> Markup:
    """Names and values; `twice` sets two pairs on a line where there is room."""
    items = [[element("dt", name), element("dd", value)] for name, value in pairs]
    return element("dl", *items, class_="facts twice" if twice else "facts")


def details(title: str, content: str) -> Markup:
    """Preformatted text that is folded away."""
    return element("details", element("summary", title), element("pre", content))


def page(title: str, body: Child) -> str:
    """A whole document: no script, no asset, and a policy that forbids both."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(CSS)),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def _alignment(column: Column) -> str:
    return "number" if column.numeric else "text"
