"""Results for people and programs: tables, figures, one HTML page, one line of JSON."""

from lean3d.report.confusion import draw_confusion, draw_roc
from lean3d.report.curves import draw_curves
from lean3d.report.drawing import save_figure
from lean3d.report.instances import draw_instances, draw_split_merge
from lean3d.report.overlay import draw_overlay
from lean3d.report.page import Section, write_page
from lean3d.report.pareto import Point, draw_pareto
from lean3d.report.parts import Code, Picture, Table
from lean3d.report.spread import draw_pairs, draw_spread
from lean3d.report.table import format_table, json_line

__all__ = [
    "Code",
    "Picture",
    "Point",
    "Section",
    "Table",
    "draw_confusion",
    "draw_curves",
    "draw_instances",
    "draw_overlay",
    "draw_pairs",
    "draw_pareto",
    "draw_roc",
    "draw_split_merge",
    "draw_spread",
    "format_table",
    "json_line",
    "save_figure",
    "write_page",
]
