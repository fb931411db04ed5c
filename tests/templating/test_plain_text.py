"""HTML as plain text: what a reader of it sees, and no mark of any other language."""

from typing import Final

import pytest

from app.templating.plain_text import extract_text

PAGE: Final = """<html><head><style>p{}</style><title>T</title></head><body><h1>Hi</h1>
<p>Hello <b>Ann</b>, <a href="https://x.example/a?b=1&amp;c=2">click <i>here</i></a>
<a href="https://x.example/">https://x.example/</a> <a href="mailto:a@b.example">a@b.example</a></p>
<table role="presentation"><tr><td>One</td><td>Two</td></tr><tr><td>Three</td></tr></table>
<ul><li>a</li><li>b_c</li></ul><img src="cid:x" alt="logo"><br>1 &lt; 2
<p style="display:none">hidden</p></body></html>"""
TEXT: Final = """\
Hi

Hello Ann, click here (https://x.example/a?b=1&c=2) https://x.example/ a@b.example

One  Two
Three

- a
- b_c

logo
1 < 2
"""
# As mail is laid out: tables in tables.
LAYOUT: Final = """<table><tr><td align="center"><table width="600">
<tr><td>Logo</td><td align="right"><a href="https://x.example/v">View online</a></td></tr>
<tr><td colspan="2"><h2>Shipped</h2><p>Dear Ann,</p><p>it is <b>on its way</b>.</p></td></tr>
<tr><td colspan="2"><table><tr><th>Item</th><th>Price</th></tr>
<tr><td>Widget</td><td>5.00</td></tr></table></td></tr>
<tr><td>Street 1<br>City</td></tr></table></td></tr></table>"""
LAID_OUT: Final = """\
Logo  View online (https://x.example/v)

Shipped

Dear Ann,

it is on its way.

Item  Price
Widget  5.00
Street 1
City
"""


def test_a_page_reads_as_plain_text() -> None:
    """Links show where they lead, tables are lines, and what is hidden is left out."""
    assert extract_text(PAGE) == TEXT
    assert extract_text(LAYOUT) == LAID_OUT


@pytest.mark.parametrize(
    "text",
    [
        "2026. A good year",
        "# 1 of 3",
        "* a - b + c > d",
        "a_b_c *x* **y** [z](u) ~~s~~ `t` \\ ! | ^",
        "1) first",
        "---",
        "&amp; is an ampersand",
    ],
)
def test_no_mark_is_escaped(text: str) -> None:
    """The text of a paragraph is that text."""
    escaped = text.replace("&", "&amp;")
    assert extract_text(f"<p>{escaped}</p>") == f"{text}\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            "<p>Run <code>make</code>, <b>now</b> <em>or</em> <s>later</s></p>",
            "Run make, now or later",
        ),
        ("<pre>a  b\n  c</pre>", "a  b\n  c"),
        ('<p>x<svg width="9"><title>t</title><circle r="4"/></svg>y</p>', "xy"),
        ('<img src="data:image/png;base64,iVBORw0KGgo="><p>x</p>', "x"),
        ('<img src="data:image/png;base64,iVBORw0KGgo=" alt="Logo">', "Logo"),
        ("<div>a<div>b</div>c</div><div>d</div>", "a\nb\nc\nd"),
        ("<div>a</div><div><br></div><div>b<br></div><div>c</div>", "a\n\nb\nc"),
        ("<p>a<br><br>b</p>\n\n\n<p>c  d\n e</p>", "a\n\nb\n\nc d e"),
        ("<ul><li>a<ul><li>n</li></ul></li><li><p>b</p></li></ul>", "- a\n  - n\n\n- b"),
        ('<ol start="3"><li>x</li><li value="9">y<br>z</li></ol>', "3. x\n9. y\n   z"),
        ("<blockquote>q<br>r</blockquote><dl><dt>T<dd>D</dl>", "  q\n  r\n\nT\n  D"),
        ("a&nbsp;b&shy;c&#8203;d", "a bcd"),
        ("<p hidden>x</p><p style='Visibility : hidden'>y</p>z", "z"),
        ("<script>s</script><style>p{}</style><template>t</template><!-- c -->x", "x"),
        ("<!--[if mso]><p>Outlook</p><![endif]-->x", "x"),
        (
            '<a href="https://x.example"><img alt="Logo" src="l.png"></a>',
            "Logo (https://x.example)",
        ),
        ('<a href="https://x.example"><img src="l.png"></a>', "https://x.example"),
        ('<a href="https://x.example">https://x.example/</a>', "https://x.example/"),
        ('<a href="https://x.example"><div>Pay</div></a>now', "Pay (https://x.example)\nnow"),
        ('<a href="mailto:u@e.example?subject=x">Write</a>', "Write (u@e.example)"),
        (
            '<a href="#top">Up</a> <a href="javascript:x()">No</a> <a name="n">Here</a>',
            "Up No Here",
        ),
        ("<p>Zoë 漢字 👍🏽</p>", "Zoë 漢字 👍🏽"),
        ("<b>a</b><i>b</i> <span> c</span>", "ab c"),
    ],
)
def test_what_a_reader_sees(html: str, text: str) -> None:
    """Line by line."""
    assert extract_text(html) == f"{text}\n"


@pytest.mark.parametrize("html", ["", " ", "<p></p>", "<style>p{}</style>", "<p>&nbsp;</p>"])
def test_nothing_to_see_is_no_text(html: str) -> None:
    """Not even a line end."""
    assert extract_text(html) == ""


@pytest.mark.parametrize(
    "start_tag", ["<div>", "<ul><li>", "<table><tr><td>", "<b>", "<blockquote>"]
)
def test_what_is_nested_deeply_is_read(start_tag: str) -> None:
    """Without a recursion, and without long lines."""
    text = extract_text(start_tag * 3000 + "x<br>y")
    assert text.split()[-2:] == ["x", "y"]
    assert len(text) < 200
