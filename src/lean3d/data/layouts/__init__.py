"""Layouts of published data sets, one file each."""

from lean3d.data.layouts.registry import Found, Item, find_items, list_layouts, register_layout

__all__ = ["Found", "Item", "find_items", "list_layouts", "register_layout"]
