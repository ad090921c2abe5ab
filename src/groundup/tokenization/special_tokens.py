"""Special tokens: names such as `<|endoftext|>` that stand for one id and that ordinary text never becomes.

They are found before any pre-token pattern runs, the leftmost first and at one place the longest. In training they
are hard boundaries; in encoding the caller says whether they count (`SpecialPolicy`), because text from outside must
not be able to end a document or speak as the assistant.
"""

from collections.abc import Collection, Iterable, Iterator

import regex

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.tokenizer import SpecialPolicy


def check_special_tokens(names: Iterable[str]) -> None:
    """Refuse empty names, lone surrogates and a name given twice."""
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            fault = "given twice" if name else "an empty text"
            raise ConfigError(f"The special token {name!r} is {fault}; give each name once.")
        if not name.isprintable():
            raise ConfigError(f"The special token {name!r} holds a character that cannot be printed; choose another.")
        seen.add(name)


def special_pattern(names: Collection[str]) -> regex.Pattern[str] | None:
    """Matches any of the names, the longest first; None where there are none."""
    if not names:
        return None
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return regex.compile("|".join(regex.escape(name) for name in longest_first))


def allowed_names(policy: SpecialPolicy, known: Collection[str], text: str) -> frozenset[str]:
    """The special tokens that count in this text; under "error" a text that holds one is an `InputError`."""
    if policy is False:
        return frozenset()
    if policy is True:
        return frozenset(known)
    if policy == "error":
        pattern = special_pattern(known)
        if pattern and (found := pattern.search(text)):
            raise InputError(
                f"The text holds the special token {found.group()!r} at character {found.start()}; remove it, or "
                "allow it (allow_special=True) or read it as plain text (allow_special=False)."
            )
        return frozenset()
    if isinstance(policy, str):
        raise ConfigError(f'allow_special is {policy!r}; use True, False, "error" or a set of special tokens.')
    for name in policy:
        if name not in known:
            raise ConfigError(f"There is no special token {name!r} to allow; {nearest(name, known)}")
    return frozenset(policy)


def split_at_specials(pattern: regex.Pattern[str] | None, text: str) -> Iterator[tuple[str, str | None]]:
    """Pairs of (plain text, the special token behind it or None at the end) that join to the text."""
    end = 0
    for match in pattern.finditer(text) if pattern else ():
        yield text[end : match.start()], match.group()
        end = match.end()
    yield text[end:], None
