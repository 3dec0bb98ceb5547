"""The check of the built documentation: what its readers' browsers would not find."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_site


def write(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_a_site_whose_links_lead_somewhere_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path, a='<p id="top"><a href="b.html#sec%C3%A9">x</a><a href="#top">x</a><a href="https://x.example">x</a>'
    )
    write(tmp_path, b='<h2 id="secé"></h2><img src="data:image/png;base64,AA"><a href="mailto:a@b.example">x</a>')
    assert check_site.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("2 pages, 0 faults\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<a href="c.html">x</a>', "a.html: c.html is not there"),
        ('<a href="b.html#no">x</a>', "a.html: b.html#no has no such anchor"),
        ('<a href="#no">x</a>', "a.html: #no has no such anchor"),
        ('<img src="no.png">', "a.html: no.png is not there"),
        ('<script src="//x.example/x.js"></script>', "a.html: loads //x.example/x.js, from another host"),
        (
            '<link rel="stylesheet" href="https://x.example/x.css">',
            "a.html: loads https://x.example/x.css, from another",
        ),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str) -> None:
    write(tmp_path, a=text, b="<p>")
    assert check_site.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(fault)
    assert captured.out.endswith("2 pages, 1 faults\n")


def test_without_a_site_it_says_what_builds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_site.main([str(tmp_path)]) == 1
    assert "`make site` builds it" in capsys.readouterr().err
