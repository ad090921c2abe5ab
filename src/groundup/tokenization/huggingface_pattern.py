"""A pre-token pattern in the words of Hugging Face's regex engine (Oniguruma, with Ruby's syntax), and back.

Both engines know `\\p{L}`, lookaheads and possessive quantifiers, but some of what they share means something else:

    ours (the `regex` module)     theirs
    X{1,3}+  possessive           (?>X{1,3})    X{1,3}+ repeats X{1,3} there: numbers of any length
    ^        start of the text    \\A            ^ and $ are those of a line there; ours are (?m:^) and (?m:$)
    $        its end, or the      \\Z
             line end before it
    \\Z       its end              \\z

The translation undoes itself, so a pattern that is written and read again is the same text. A pattern that uses what is
not known to be the same on both sides (named groups, other flags, nested classes, escapes such as `\\h`) is refused.
One difference stays: without regard to case, theirs also takes ß for "ss" and the like; no pattern in use asks for it.
"""

import regex

_ATOM = r"""\\(?:[pP]\{[^}]*\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|[^\\\[]"""
_INTERVAL = r"\{\d*,?\d*\}"
_PIECE = regex.compile(
    rf"(?P<atomic>\(\?>(?P<held>{_ATOM})(?P<times>{_INTERVAL})\))"
    rf"|(?P<exact>\{{\d+\}}\?)|(?P<line>\(\?m:[$^]\))|(?P<group>\(\?(?:[:=!>]|<[=!]|i:)?)|(?P<atom>{_ATOM})(?P<possessive>{_INTERVAL}\+)?",
    regex.DOTALL,
)
_THEIRS = {"^": r"\A", "$": r"\Z", r"\Z": r"\z", "(?m:^)": "^", "(?m:$)": "$"}
_OURS = {theirs: ours for ours, theirs in _THEIRS.items()}
_SHARED_ESCAPES = frozenset("pPsSdDwWbBrnftvxuAZz")
_NESTED = regex.compile(r"\[(?!:)|&&|--|\|\||~~")


def to_oniguruma(expression: str) -> str:
    """A pattern of ours for Hugging Face; a `ValueError` names what has no counterpart."""
    parts: list[str] = []
    for match in _PIECE.finditer(expression):
        atom = _checked(match)
        if match["possessive"]:
            parts.append(f"(?>{atom}{match['possessive'][:-1]})")
        else:
            parts.append(_THEIRS.get(atom, atom))
    return "".join(parts)


def from_oniguruma(expression: str) -> str:
    """A pattern of Hugging Face in our words; a `ValueError` names what has no counterpart."""
    parts: list[str] = []
    for match in _PIECE.finditer(expression):
        atom = _checked(match)
        if match["atomic"]:
            parts.append(f"{match['held']}{match['times']}+")
        elif match["possessive"]:
            parts.append(f"(?:{atom}{match['possessive'][:-1]})+")
        else:
            parts.append(_OURS.get(atom, atom))
    return "".join(parts)


def _checked(match: regex.Match[str]) -> str:
    """The piece of a pattern without its quantifier, if both engines read it alike once it is translated."""
    piece = match["atom"] or match.group()
    atom = match["held"] or piece
    if piece == "(?":
        raise ValueError(f"the group {match.string[match.start() : match.start() + 6]!r} is not known on both sides")
    if match["exact"]:
        raise ValueError(f"the quantifier {piece!r} (optional there, lazy here) is not known on both sides")
    if match["possessive"] and piece == ")":
        raise ValueError("a possessive number of times of a group is not known on both sides")
    if atom[0] == "\\" and atom[1].isalnum() and atom[1] not in _SHARED_ESCAPES:
        raise ValueError(f"the escape {atom!r} is not known on both sides")
    if atom[0] == "[" and _NESTED.search(regex.sub(r"\\.", "", atom[1:])):
        raise ValueError(f"the nested class {atom!r} is not known on both sides")
    return piece
