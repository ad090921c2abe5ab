"""Masks for personal data that has a fixed form: e-mail addresses, US telephone numbers, IPv4 addresses.

    |||EMAIL_ADDRESS|||    ada@example.org
    |||PHONE_NUMBER|||     2831823829, (283)-182-3829, (283) 182 3829, 283-182-3829, 283.182.3829, +1 283 182 3829
    |||IP_ADDRESS|||       192.0.2.146, also before a final full stop; four numbers of at most 255

The masks are those of Stanford's CS336, assignment 4. Text that is masked already is left alone and not counted. Names
and postal addresses have no fixed form and are not found.
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


def mask_pii(text: str) -> tuple[str, Counter[str]]:
    """The text with masks in place of what was found, and how many of each kind (0 too)."""
    counts: Counter[str] = Counter()
    for kind, pattern, mask in (("email", _EMAIL, EMAIL), ("ip", _IP, IP), ("phone", _PHONE, PHONE)):
        text, found = pattern.subn(mask, text)
        counts[kind] += found
    return text, counts
