import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import InputError, MissingError
from groundup.corpus.dedup.hashing import reference_hash
from groundup.corpus.filters.blocklist import Blocklist, UrlWords, load_blocklist, url_faults
from groundup.corpus.filters.hosts import ALLOWED, FIRST, PLAIN, _plain_lines
from groundup.corpus.urls import host_of, normalize_url, registered_domain


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("HTTP://www.Example.ORG:80/a/../b/?utm_source=x&q=%7e#top", "example.org/b?q=~"),
        ("https://example.org", "example.org"),
        ("https://example.org:8443/", "example.org:8443"),
        ("//example.org/x", "example.org/x"),
        ("example.org:8080/x", "example.org:8080/x"),
        ("https://example.org/?b=2&a=1&&fbclid=z", "example.org?a=1&b=2"),
        ("https://example.org/a;jsessionid=1F?PHPSESSID=2", "example.org/a"),
        ("http://user:word@example.org./%c3%a4/", "example.org/%C3%A4"),
        ("http://Bücher.example/ä b", "xn--bcher-kva.example/%C3%A4%20b"),
        ("https://example.org/#!/route", "example.org#!/route"),
        ("https://example.org/./a/./b/../../c", "example.org/c"),
        ("https://example.org/100%", "example.org/100%25"),
        ("http://[::1]:80/x", "[::1]/x"),
        ("mailto:ada@example.org", "mailto:ada@example.org"),
        ("http://[", "http://["),
        (" ", ""),
    ],
)
def test_normalised_address(url, key):
    assert normalize_url(url) == key


@given(st.text(st.sampled_from("ab/.?&=%#:é 4A;"), max_size=30))
def test_a_key_is_its_own_key(rest):
    key = normalize_url("https://example.org/" + rest)
    assert normalize_url(key) == key


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://news.bbc.co.uk/1", "bbc.co.uk"),
        ("https://a.b.example.com", "example.com"),
        ("https://x.y.kobe.jp", "x.y.kobe.jp"),
        ("https://city.kobe.jp", "city.kobe.jp"),
        ("https://a.www.ck", "www.ck"),
        ("https://co.uk", "co.uk"),
        ("http://192.0.2.1/a", "192.0.2.1"),
        ("http://localhost/a", "localhost"),
        ("mailto:ada@example.org", ""),
    ],
)
def test_registered_domain(url, domain):
    assert registered_domain(url) == domain


def test_registered_domain_is_tldextracts():
    from tldextract import TLDExtract

    extract = TLDExtract(cache_dir=None, suffix_list_urls=())
    suffixes = extract.tlds[::25]
    for number, suffix in enumerate(suffixes):
        host = f"a.shop{number}.{suffix.removeprefix('*.').removeprefix('!')}"
        found = extract(host)
        expected = f"{found.domain}.{found.suffix}" if found.domain and found.suffix else host
        ascii_form = expected if expected.isascii() else expected.encode("idna").decode()
        assert registered_domain("https://" + host) == ascii_form


def test_blocklists_in_the_layout_of_ut1(tmp_path):
    for category, domains, urls in (
        ("adult", "bad.example\n", "mixed.example/~dirty\n"),
        ("games", "play.example", ""),
    ):
        (tmp_path / "lists" / category).mkdir(parents=True)
        (tmp_path / "lists" / category / "domains").write_text(domains)
        (tmp_path / "lists" / category / "urls").write_text(urls)
    (tmp_path / "lists" / "README").write_text("not a category")
    with gzip.open(tmp_path / "mine.txt.gz", "wt") as file:
        file.write("# my own\nWWW.Spam.Example  # found today\n")
    addresses = [
        "https://www.bad.example/x",
        "https://notbad.example/x",
        "http://mixed.example/~dirty/page.html?x=1",
        "http://mixed.example/~dirtyother",
        "https://sub.spam.example",
        "https://play.example",
        None,
    ]
    everything = load_blocklist([tmp_path / "lists", tmp_path / "mine.txt.gz"])
    assert url_faults(addresses, everything) == [
        ("domain_adult",),
        (),
        ("url_adult",),
        (),
        ("domain_mine",),
        ("domain_games",),
        (),
    ]
    for one in (load_blocklist([tmp_path / "lists"], ["games"]), load_blocklist([tmp_path / "lists" / "games"])):
        assert (len(one.hosts), one.hosts.get("play.example"), one.urls) == (1, "games", {})
    with pytest.raises(MissingError, match=r"'music'.*adult, games"):
        load_blocklist([tmp_path / "lists"], ["music"])
    with pytest.raises(MissingError, match="no blocklist"):
        load_blocklist([tmp_path / "nothing"])
    with pytest.raises(InputError, match="no category folders"):
        load_blocklist([tmp_path / "lists", tmp_path])


WORDS = UrlWords(frozenset(["badword"]), frozenset(["awful"]), frozenset(["soft", "warm"]))


@pytest.mark.parametrize(
    ("url", "reasons"),
    [
        ("http://foob.ad-wo.rdbar.example/x", ("url_strict_word",)),
        ("http://x.example/very-awful-things", ("url_hard_word",)),
        ("http://x.example/awfully", ()),
        ("http://x.example/soft", ()),
        ("http://x.example/soft/soft", ()),
        ("http://soft.example/WARM", ("url_soft_words",)),
    ],
)
def test_words_in_addresses(url, reasons):
    assert url_faults([url], Blocklist(), WORDS) == [reasons]


def test_default_words_spare_other_subjects():
    addresses = ["https://essex.example/webcam", "https://x.example/sex-education", "https://middlesex.example/adult"]
    assert url_faults([*addresses, "https://example.org/xxx/1"], Blocklist()) == [(), (), (), ("url_hard_word",)]
    with pytest.raises(InputError, match="'Two Words'"):
        UrlWords(hard=frozenset(["Two Words"]))


def test_host():
    assert host_of("HTTPS://User@DE.Wikipedia.org:443/wiki") == "de.wikipedia.org"


def test_hosts_that_are_read_at_once_are_what_normalisation_makes_of_them(tmp_path: Path) -> None:
    generator = random.Random(3)
    entries = ["".join(generator.choices("abw.-_09", k=generator.randint(1, 6))) for _ in range(3000)]
    entries += ["www.a.example", "A.example", "a.example.", "a.example # why", " b.example ", "c.example/x", "d:80"]
    entries += ["é.fr", "", "# a comment"]
    (tmp_path / "first").write_text("\n".join(entries) + "\r\n")
    (tmp_path / "second").write_text("a.example\nonly.second")
    read = load_blocklist([tmp_path / "first", tmp_path / "second"])
    keys = {normalize_url(entry.partition("#")[0].strip()) for entry in entries} - {""}
    hosts = keys - {"c.example/x"}
    assert {host: read.hosts.get(host) for host in hosts} == dict.fromkeys(hosts, "first")
    assert (len(read.hosts), read.hosts.get("only.second")) == (len(hosts) + 1, "second")
    assert [read.hosts.get(host) for host in ("example", "www.a.example")] == [None, None]
    assert read.urls == {"c.example/x": "first"}


def test_plain_hosts_are_those_of_the_pattern() -> None:
    generator = random.Random(4)
    names = ["".join(generator.choices("abw.-_0A/ é", k=generator.randint(0, 7))) for _ in range(5000)]
    data = "\n".join(names).encode()
    keys, starts, ends = _plain_lines(np.frombuffer(data, np.uint8), ALLOWED, FIRST)
    assert [data[a:b].decode() for a, b in zip(starts, ends, strict=True)] == [
        name for name in names if name and not PLAIN.fullmatch(name)
    ]
    assert keys.tolist() == [reference_hash(name.encode()) for name in names if PLAIN.fullmatch(name)]
