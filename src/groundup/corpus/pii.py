"""Masks for personal data that has a fixed form: e-mail addresses, US telephone numbers, IPv4 addresses.

    |||EMAIL_ADDRESS|||    ada@example.org
    |||PHONE_NUMBER|||     2831823829, (283)-182-3829, (283) 182 3829, 283-182-3829, 283.182.3829, +1 283 182 3829
    |||IP_ADDRESS|||       192.0.2.146, also before a final full stop; four numbers of at most 255

The masks are those of Stanford's CS336, assignment 4. Text that is masked already is left alone and not counted. Names
and postal addresses have no fixed form and are not found.

None of the patterns reaches across a line, and each has a short part that is searched for first (an @, digits around a
full stop, three digits before four): only lines with that part meet the pattern itself, which is what costs.
"""

import re
from collections import Counter

EMAIL, PHONE, IP = "|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||", "|||IP_ADDRESS|||"

# The repeats are bounded by the lengths that RFC 5321 allows, so a page of letters cannot make the search quadratic.
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.$€£-])(?:\+?1[ .-]?)?(?:\(\d{3}\)[ .-]{0,2}|\d{3}[ .-]?)\d{3}[ .-]?\d{4}(?![\w%]|[-.,]\d)"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IP = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\w|\.\w)")

KINDS = (
    ("email", re.compile("@"), _EMAIL, EMAIL),
    ("ip", re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d"), _IP, IP),
    ("phone", re.compile(r"\d{3}[ .-]?\d{4}"), _PHONE, PHONE),
)
"""(kind, the part that no match is without, the pattern, its mask)"""


def mask_pii(text: str) -> tuple[str, Counter[str]]:
    """The text with masks in place of what was found, and how many of each kind (0 too)."""
    counts: Counter[str] = Counter()
    for kind, part, pattern, mask in KINDS:
        text, counts[kind] = _mask(text, part, pattern, mask)
    return text, counts


def _mask(text: str, part: re.Pattern[str], pattern: re.Pattern[str], mask: str) -> tuple[str, int]:
    """As `pattern.subn(mask, text)`."""
    pieces: list[str] = []
    done = count = 0
    while found := part.search(text, done):
        start = text.rfind("\n", done, found.start()) + 1 or done
        end = text.find("\n", found.end())
        end = len(text) if end < 0 else end
        line, masked = pattern.subn(mask, text[start:end])
        pieces += (text[done:start], line)
        count += masked
        done = end
    return "".join((*pieces, text[done:])), count
