"""The registry: where a file is looked for, and what an address may give. No test touches the network."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from ardm.base.errors import InputError
from ardm.base.resources import REGISTRY
from ardm.worlds import registry

TEXT = b"to be or not to be, that is the question. " * 40
SHA = hashlib.sha256(TEXT).hexdigest()
HERE = "https://texts.example/hamlet.txt"
HAMLET = {
    "title": "Hamlet",
    "source": "W. Shakespeare",
    "url": HERE,
    "download_bytes": len(TEXT),
    "download_sha256": SHA,
    "file": "hamlet.txt",
    "bytes": len(TEXT),
    "sha256": SHA,
}


class Web(BaseAdapter):
    """The answers of all addresses, through requests itself: bytes, or the address that one redirects to."""

    def __init__(self):
        super().__init__()
        self.pages, self.asked, self.taken = {}, [], 0

    def send(self, request, **_):
        self.asked.append(request.url)
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        page = self.pages.get(request.url)
        answer.status_code = 404 if page is None else 302 if isinstance(page, str) else 200
        if isinstance(page, str):
            answer.headers["location"] = page
        web = self

        class Counted(io.BytesIO):
            def read(self, *size):
                piece = super().read(*size)
                web.taken += len(piece)
                return piece

        answer.raw = HTTPResponse(Counted(page if isinstance(page, bytes) else b""), preload_content=False)
        return answer

    def close(self):
        pass


@pytest.fixture
def web(monkeypatch):
    web = Web()

    def session():
        made = requests.Session()
        for scheme in ("https://", "http://"):
            made.mount(scheme, web)
        return made

    monkeypatch.setattr(registry, "_session", session)
    return web


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Puts these entries into the registry; ARDM_DATA and the cache are empty folders."""
    for name in ("given", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "registry.json")
    monkeypatch.setattr(registry, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("ARDM_DATA", str(tmp_path / "given"))

    def put(**entries):
        (tmp_path / "registry.json").write_text(json.dumps(entries))
        registry._entries.cache_clear()

    put(hamlet=HAMLET)
    yield put
    registry._entries.cache_clear()


def nothing_kept(folder):
    return not list((folder / "cache").iterdir())


# Files that lie here -----------------------------------------------------------------------------------------------------


def test_ardm_data_is_tried_before_the_cache(register, tmp_path, web):
    (tmp_path / "cache" / "hamlet.txt").write_text("the cached one is not looked at")
    (tmp_path / "given" / "hamlet.txt").write_bytes(TEXT)
    assert registry.locate("hamlet") == tmp_path / "given" / "hamlet.txt"
    assert registry.content("hamlet") == TEXT
    assert web.asked == []


def test_the_cache_is_used_without_ardm_data(register, tmp_path, monkeypatch, web):
    monkeypatch.delenv("ARDM_DATA")
    assert registry.locate("hamlet") is None
    (tmp_path / "cache" / "hamlet.txt").write_bytes(TEXT)
    assert registry.content("hamlet") == TEXT
    assert web.asked == []


def test_ardm_data_must_be_a_folder(register, tmp_path, monkeypatch):
    monkeypatch.setenv("ARDM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"ARDM_DATA=.*nowhere: there is no such folder"):
        registry.locate("hamlet")


def test_a_flipped_bit_names_the_file_and_the_fix(register, tmp_path):
    held = bytearray(TEXT)
    held[700] ^= 1
    (tmp_path / "given" / "hamlet.txt").write_bytes(held)
    with pytest.raises(InputError, match=r"given/hamlet\.txt: SHA-256 .* is not the registered .*; remove it$"):
        registry.content("hamlet")


@pytest.mark.parametrize("held", [TEXT[:-1], TEXT + b"!", b""])
def test_a_file_of_another_size_names_it_and_both_sizes(register, tmp_path, held):
    (tmp_path / "given" / "hamlet.txt").write_bytes(held)
    with pytest.raises(InputError, match=rf"given/hamlet\.txt: {len(held):,} bytes are not the registered 1,680; remove it$"):
        registry.content("hamlet")


# Downloads ---------------------------------------------------------------------------------------------------------------


def test_what_is_fetched_is_kept_for_the_next_time(register, tmp_path, web):
    web.pages[HERE] = TEXT
    assert registry.content("hamlet") == registry.content("hamlet") == TEXT
    assert web.asked == [HERE]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["hamlet.txt"]


def test_a_missing_text_offline_says_what_to_put_where(register, tmp_path, web):
    with pytest.raises(InputError, match=r"put hamlet\.txt \(SHA-256 .*\) into a folder and name it in ARDM_DATA") as caught:
        registry.content("hamlet")
    assert "\n" not in str(caught.value)
    assert nothing_kept(tmp_path)


@pytest.mark.parametrize(
    ("checked", "why"),
    [
        ("download_sha256", "the download does not have the registered SHA-256"),
        ("sha256", "SHA-256 .* is not the registered .*"),
    ],
)
def test_a_download_that_is_not_itself_is_refused_and_not_kept(register, tmp_path, web, checked, why):
    """With the checksum of the download pooch refuses it; without, what would be kept is checked."""
    register(hamlet={field: value for field, value in HAMLET.items() if field != "download_sha256" or checked == field})
    web.pages[HERE] = TEXT[:-1] + b"!"
    with pytest.raises(InputError, match=rf"hamlet\.txt: {why}; nothing was kept$") as caught:
        registry.content("hamlet")
    assert "\n" not in str(caught.value)
    assert nothing_kept(tmp_path)


def test_no_more_is_taken_than_registered(register, tmp_path, web):
    """An address that gives without end is left after the first piece that is too much."""
    web.pages[HERE] = bytes(50_000_000)
    with pytest.raises(InputError, match=r"gives more than the registered 1,680 bytes; nothing was kept$"):
        registry.content("hamlet")
    assert web.taken <= len(TEXT) + registry.PIECE
    assert nothing_kept(tmp_path)


def test_a_download_that_ends_early_says_so(register, tmp_path, web):
    web.pages[HERE] = TEXT[:1000]
    with pytest.raises(InputError, match=r"gave 1,000 of the registered 1,680 bytes; nothing was kept$"):
        registry.content("hamlet")
    assert nothing_kept(tmp_path)


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("https://elsewhere.example/hamlet.txt", "is at another host than texts.example"),
        ("https://texts.example@elsewhere.example/hamlet.txt", "is at another host than texts.example"),
        ("https://texts.example.elsewhere.example/hamlet.txt", "is at another host than texts.example"),
        ("//elsewhere.example/hamlet.txt", "is at another host than texts.example"),
        ("http://texts.example/hamlet.txt", "is not HTTPS"),
        ("file:///etc/passwd", "is not HTTPS"),
    ],
)
def test_a_redirect_to_another_host_or_out_of_https_is_not_followed(register, tmp_path, web, to, why):
    web.pages |= {HERE: to, to: TEXT}
    with pytest.raises(InputError, match=f"^hamlet: .*{why}; nothing was fetched from there$"):
        registry.content("hamlet")
    assert web.asked == [HERE]
    assert nothing_kept(tmp_path)


def test_a_redirect_to_a_registered_host_is_followed(register, web):
    mirror = "https://mirror.example/hamlet.txt"
    register(hamlet=HAMLET | {"hosts": ["mirror.example"]})
    web.pages |= {HERE: "/moved.txt", "https://texts.example/moved.txt": mirror, mirror: TEXT}
    assert registry.content("hamlet") == TEXT
    assert web.asked == [HERE, "https://texts.example/moved.txt", mirror]


def test_a_circle_of_redirects_ends(register, web):
    web.pages[HERE] = HERE
    with pytest.raises(InputError, match="redirects more than 5 times; nothing was kept"):
        registry.content("hamlet")
    assert len(web.asked) == 6


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_loaded(register, tmp_path, monkeypatch, web):
    (tmp_path / "file").touch()
    monkeypatch.setattr(registry, "_cache", lambda: tmp_path / "file" / "cache")
    with pytest.raises(InputError, match=r"cannot write in the folder .*file/cache"):
        registry.content("hamlet")
    assert web.asked == []


# Archives ----------------------------------------------------------------------------------------------------------------


def packed(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def of_archive(archive):
    return HAMLET | {
        "member": "text",
        "download_bytes": len(archive),
        "download_sha256": hashlib.sha256(archive).hexdigest(),
    }


def test_an_archive_is_cut_to_its_registered_part_and_goes(register, tmp_path, web):
    web.pages[HERE] = archive = packed(text=TEXT + b"and more that does not count")
    register(hamlet=of_archive(archive))
    assert registry.content("hamlet") == TEXT
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["hamlet.txt"]


def test_members_that_lead_out_of_the_folder_are_not_unpacked(register, tmp_path, web):
    web.pages[HERE] = archive = packed(**{"../../escaped": b"x", "/escaped": b"x", "text": TEXT})
    register(hamlet=of_archive(archive))
    assert registry.content("hamlet") == TEXT
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cache", "given", "hamlet.txt", "registry.json"]


def test_of_a_member_that_unpacks_to_much_only_the_registered_part_is_read(register, tmp_path, web):
    web.pages[HERE] = archive = packed(text=bytes(100_000_000))
    register(hamlet=of_archive(archive))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"is not the registered .*; nothing was kept"):
            registry.content("hamlet")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert nothing_kept(tmp_path)


@pytest.mark.parametrize("archive", [packed(other=TEXT), b"no archive at all"])
def test_what_is_no_archive_or_lacks_the_member_is_one_line(register, tmp_path, web, archive):
    web.pages[HERE] = archive
    register(hamlet=of_archive(archive))
    with pytest.raises(InputError, match=r"is no ZIP archive with a member text; nothing was kept$"):
        registry.content("hamlet")
    assert nothing_kept(tmp_path)


# The registry itself -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "", ".hidden", "a\\b", "C:x", "a\n", "a\0b"])
@pytest.mark.parametrize("field", ["file", "member"])
def test_a_name_that_leads_out_of_the_folder_is_refused_when_it_is_read(register, field, name):
    register(hamlet=HAMLET | {field: name})
    with pytest.raises(InputError, match=rf"the registry's hamlet has {field}=.*: give the plain name of a file"):
        registry.names()


@pytest.mark.parametrize(
    "url", ["http://texts.example/x", "ftp://texts.example/x", "file:///x", "texts.example/x", "https:///x"]
)
def test_an_address_that_is_not_https_is_refused_when_it_is_read(register, url):
    register(hamlet=HAMLET | {"url": url})
    with pytest.raises(InputError, match=r"^hamlet: .* is (not HTTPS|at another host)"):
        registry.names()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bytes": 0}, "bytes=0: give a number of bytes"),
        ({"bytes": True}, "bytes=True: it is of the type int"),
        ({"download_bytes": "9"}, "download_bytes='9': it is of the type int"),
        ({"sha256": "abc"}, "sha256='abc': give 64 hexadecimal digits"),
        ({"download_sha256": 7}, "download_sha256=7: it is of the type str"),
        ({"file": 3}, "file=3: it is of the type str"),
        ({"hosts": "mirror.example"}, "hosts='mirror.example': it is of the type list"),
        ({"hosst": []}, "has a field 'hosst': it has bytes, convert"),
    ],
)
def test_a_field_that_is_wrong_is_named(register, change, why):
    register(hamlet=HAMLET | change)
    with pytest.raises(InputError, match=why):
        registry.names()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"hamlet": 3}', '{"hamlet": {}}'])
def test_a_registry_that_is_none_is_one_line(register, tmp_path, text):
    (tmp_path / "registry.json").write_text(text)
    registry._entries.cache_clear()
    with pytest.raises(InputError, match=r"is not the JSON of a registry|is not complete"):
        registry.names()


def test_the_registry_of_the_package_is_sound():
    registry._entries.cache_clear()
    assert registry.names() == tuple(json.loads(REGISTRY.read_text()))
    for name in registry.names():
        entry = registry.entry(name)
        assert (entry.download_sha256 is None) == (entry.convert is not None), name  # what is solved is checked after that
