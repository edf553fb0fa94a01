from html.parser import HTMLParser

import pytest

from lean3d.errors import DataError
from lean3d.report import Code, Picture, Point, Section, Table, draw_curves, draw_pareto, write_page
from lean3d.report.page import page_html
from lean3d.report.parts import part_html

ROWS = [
    {"model": "3D", "dice": 0.891, "macs": 3.5},
    {"model": "ACS", "dice": 0.893, "macs": 1.2},
    {"model": "2.5D", "dice": float("nan"), "macs": 1.2},
]
BEST = {"dice": "max", "macs": "min"}


def figures():
    rows = [{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_dice": 0.5}]
    return draw_curves({"ACS": rows}), draw_pareto([Point("ACS", 1e9, 0.9)])


def page():
    curves, pareto = figures()
    parts = [
        "A & B",
        Table(ROWS, best=BEST),
        Picture(curves, "curves"),
        Picture(pareto, "p", "png"),
    ]
    return page_html("Report", [Section("Results", parts)], {"command": ["make demo"]})


class Reader(HTMLParser):
    """Follows opening and closing tags, and collects everything a tag points to."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self, text):
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_tag_is_closed_and_nothing_outside_the_page_is_needed():
    reader = Reader(page())
    assert reader.open == []
    assert [link.partition(";")[0] for link in reader.links] == [
        "data:image/svg+xml",
        "data:image/png",
    ]
    assert "url(" not in page()
    assert "@import" not in page()


def test_the_best_of_a_column_is_bold_ties_included():
    html = part_html(Table(ROWS, best=BEST))
    assert html.count("<b>") == 3
    assert "<b>0.8930</b>" in html
    assert html.count("<b>1.200</b>") == 2


def test_headers_are_as_given_and_columns_in_order():
    html = part_html(Table(ROWS, {"macs": "MACs (G)", "model": "model"}))
    assert html.index("<th>MACs (G)</th>") < html.index('<th class="text">model</th>')
    assert "dice" not in html


def test_a_header_may_break_but_never_before_a_per_cent():
    html = part_html(Table(ROWS, {"dice": "95 % interval"}))
    assert "<th>95&nbsp;% interval</th>" in html


@pytest.mark.parametrize(
    "part",
    [
        "<script>",
        Code("<script>"),
        Table([{"<script>": "<script>"}]),
        Picture(figures()[0], '<script>"'),
    ],
    ids=["text", "code", "table", "picture"],
)
def test_text_is_shown_and_never_run(part):
    html = page_html("<script>", [Section("<script>", [part])], {"<script>": ["<script>"]})
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_facts_stand_in_the_footer_and_unknown_ones_are_left_out():
    facts = {"command": ["a", "b"], "recipe": {"lr": 0.1}, "date": "today", "commit": None}
    footer = page_html("Report", [], facts).partition("<footer>")[2]
    assert "<code>a\nb</code>" in footer
    assert "<code>lr: 0.1</code>" in footer
    assert "<dd>today</dd>" in footer
    assert "commit" not in footer


def test_the_same_content_gives_the_same_page():
    assert page() == page()


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    write_page(path, "Report", [])
    assert path.read_text("utf-8") == page_html("Report", [])
    with pytest.raises(DataError, match="cannot write"):
        write_page(tmp_path / "missing" / "report.html", "Report", [])
