"""Addresses of pages: the form in which two addresses of one page are equal, and the domain that someone registered.

    normalize_url("HTTP://www.Example.ORG:80/a/../b/?utm_source=x&q=%7e#top")   example.org/b?q=~
    host_of("https://de.wikipedia.org/wiki/Fluss")                              de.wikipedia.org
    registered_domain("https://news.bbc.co.uk/1/hi")                            bbc.co.uk

`normalize_url` makes a key, not an address to fetch. It applies the syntax-based normalisation of RFC 3986, section
6.2.2 (lower-case scheme and host, percent-encoding in one form, no dot segments), and then what holds for web pages by
experience: http and https, with and without `www.`, give the same page; fragments (but not the old `#!` routes),
session numbers and the marks of advertising campaigns do not change it, nor does the order of parameters or a final
slash. What can no longer be told apart by this is accepted: a server may treat `/a` and `/a/` as two pages.

`registered_domain` follows the rules of the Public Suffix List (https://publicsuffix.org/list/) as tldextract bundles
it, in its ICANN part: the longest rule that matches, one label more, wildcards and exceptions included. The network is
never asked. Looking up the host's ends in one set is twice as fast as tldextract's own call, and hosts are remembered.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
TRACKING_PARAMETERS = frozenset(
    (
        *("gclid", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "yclid", "twclid", "ttclid", "igshid"),
        *("mc_cid", "mc_eid", "_ga", "_gl", "_hsenc", "_hsmi", "mkt_tok"),
        *("phpsessid", "jsessionid", "sessionid", "aspsessionid", "cfid", "cftoken"),
    )
)
"""compared in lower case; besides them all that begin with `utm_`"""

_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_TO_ESCAPE = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
_SESSION_IN_PATH = re.compile(r";jsessionid=[^/?;]*", re.IGNORECASE)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def normalize_url(url: str) -> str:
    """The key of a web address, `host[:port]/path?query`; what is no web address is only stripped of white space."""
    url = url.strip()
    parts = _split(url)
    if not parts:
        return url
    host, port, path, query, fragment = parts
    path = _escaped(_without_dot_segments(_SESSION_IN_PATH.sub("", path) if ";" in path else path)).rstrip("/")
    if query:
        kept = sorted(_escaped(field) for field in query.split("&") if field and not _is_tracking(field))
        query = "?" + "&".join(kept) if kept else ""
    route = "#" + _escaped(fragment) if fragment.startswith("!") else ""
    return host.removeprefix("www.") + port + path + query + route


def host_of(url: str) -> str:
    """The host of a web address in lower case (ASCII form of an international name), or "" where there is none."""
    parts = _split(url.strip())
    return parts[0] if parts else ""


def registered_domain(url: str) -> str:
    """The name below the public suffix; an IP address, a bare suffix or an unknown one gives the host itself."""
    return registered_domain_of_host(host_of(url))


@lru_cache(maxsize=65_536)
def registered_domain_of_host(host: str) -> str:
    """As `registered_domain`, for a host as `host_of` gives it. A crawl has many pages of a host."""
    rules = _suffix_rules()
    labels = host.split(".")
    for start in range(len(labels)):  # the first that matches is the longest
        suffix = ".".join(labels[start:])
        if "!" + suffix in rules:  # an exception to a wildcard: it is itself what is registered
            return suffix
        if suffix in rules or (start + 1 < len(labels) and "*." + ".".join(labels[start + 1 :]) in rules):
            return ".".join(labels[max(start - 1, 0) :])
    return host


@lru_cache(maxsize=1)
def _suffix_rules() -> frozenset[str]:
    """The rules of the bundled list, with names in their ASCII form."""
    from tldextract import TLDExtract  # here, since importing it takes a tenth of a second

    rules = TLDExtract(cache_dir=None, suffix_list_urls=()).tlds
    return frozenset(rule if rule.isascii() else _ascii_host(rule) for rule in rules)


def _split(url: str) -> tuple[str, str, str, str, str] | None:
    """Host, port with its colon, path, query and fragment of an http(s) address or one that names no scheme."""
    if "://" not in url:
        if _SCHEME.match(url) and not re.match(r"[^/?#:]+:\d", url):  # mailto:, data:, but not example.org:8080
            return None
        url = "http://" + url.lstrip("/")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # "http://[" or a port that is no number
        return None
    if parts.scheme not in DEFAULT_PORTS or not host:
        return None
    host = (host if host.isascii() else _ascii_host(host)).rstrip(".")
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port is None or port == DEFAULT_PORTS[parts.scheme] else f":{port}"
    return host, shown_port, parts.path, parts.query, parts.fragment


def _ascii_host(host: str) -> str:
    """Punycode (RFC 3492) of an international name; one that cannot be encoded stays."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _escaped(text: str) -> str:
    """Percent-encoding in one form: unreserved characters bare, all else that needs it as upper-case hexadecimal."""
    if "%" not in text and text.isascii() and text.isprintable() and " " not in text:
        return text
    text = _TO_ESCAPE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)
    return _ESCAPED.sub(_one_form, text)


def _one_form(found: re.Match[str]) -> str:
    byte = int(found[1], 16)
    return chr(byte) if byte in _UNRESERVED else found[0].upper()


def _without_dot_segments(path: str) -> str:
    """RFC 3986, section 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _is_tracking(field: str) -> bool:
    name = field.partition("=")[0].lower()
    return name in TRACKING_PARAMETERS or name.startswith("utm_")
