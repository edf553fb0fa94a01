"""Make a trained 3D network lighter, to a cost that is named: a form for every convolution."""

from lean3d.lightening.api import lighten
from lean3d.lightening.cut import Cut, read_cut, restructure
from lean3d.lightening.forms import CUTS
from lean3d.lightening.record import Layer, Lightening

__all__ = ["CUTS", "Cut", "Layer", "Lightening", "lighten", "read_cut", "restructure"]
