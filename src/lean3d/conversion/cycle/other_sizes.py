"""Let a 2D network take images of other sizes, by the settings that it has for that itself.

timm's networks build their position tables for one size, and interpolate them, or build them at
each call, if they are asked to when they are made. The settings are the same ones here.
"""

from typing import Any

from torch import nn

__all__ = ["settings_for_other_sizes"]

Settings = dict[str, dict[str, Any]]


def settings_for_other_sizes(model: nn.Module) -> Settings:
    """Return by path the attributes to set, with their values."""
    found: Settings = {}
    for path, module in model.named_modules():
        known = vars(module)
        if known.get("dynamic_img_size") is False and _embeds(module):
            found.setdefault(path, {})["dynamic_img_size"] = True
            embed: Any = module.patch_embed
            inner = f"{path}.patch_embed" if path else "patch_embed"
            layout = type(embed.output_fmt)("NHWC")
            found.setdefault(inner, {}).update(flatten=False, output_fmt=layout)
        if known.get("strict_img_size") is True:
            found.setdefault(path, {})["strict_img_size"] = False
        if known.get("dynamic_mask") is False:
            found.setdefault(path, {})["dynamic_mask"] = True
        if known.get("_use_cached_embed") is True and "bands" in module._buffers:
            found.setdefault(path, {})["_use_cached_embed"] = False
    return found


def _embeds(module: nn.Module) -> bool:
    """Whether it interpolates its table for the map that its patch embedding returns."""
    embed = getattr(module, "patch_embed", None)
    known = vars(embed) if isinstance(embed, nn.Module) else {}
    return "output_fmt" in known and "flatten" in known and hasattr(module, "_pos_embed")
