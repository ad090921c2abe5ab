"""Text as the report shows it: numbers with their units, and every character visible."""

SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit
# Control characters would vanish or break the page: they are shown as the pictures that Unicode has for them.
PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}


def visible(text: str) -> str:
    """Text without what a page cannot hold and a model can emit: control characters and lone surrogates."""
    return text.encode("utf-8", "replace").decode().translate(PICTURES)


def short_text(value: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if abs(value) >= scale:
            return f"{value / (1e3 if unit == 'k' else scale):.{0 if unit == 'k' else 1}f}{SPACE}{unit}"
    return f"{value:,.0f}"


def size_text(count: float) -> str:
    """Bytes in decimal units: 6900000 -> 6.9 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= scale:
            return f"{count / scale:.1f}{SPACE}{unit}"
    return f"{count:,.0f}{SPACE}B"


def duration_text(seconds: float) -> str:
    """7.31 -> 7.3 s; 252 -> 4 min 12 s; 8000 -> 2 h 13 min."""
    if seconds < 59.95:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    parts = (minutes, "min", f"{rest:02d}", "s") if minutes < 60 else (minutes // 60, "h", f"{minutes % 60:02d}", "min")
    return SPACE.join(str(part) for part in parts)


def points_text(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
