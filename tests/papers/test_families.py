import csv
import re

from lean3d.models import list_models
from papers.families import CLIPS, DOCS, VOLUMES, measure

# the study of blocks has a figure of its own; the others are no families
ELSEWHERE = ("simple", "bottleneck", "kth", "unet2d", "unet3d_")


def family(name):
    return re.sub(r"_?\d+$", "", name)


def test_every_family_of_networks_is_in_the_figure():
    shown = {name for members in (CLIPS | VOLUMES).values() for _, name, _ in members}
    known = {family(name) for name in list_models() if not name.startswith(ELSEWHERE)}
    assert known == {family(name) for name in shown}


def test_the_numbers_drawn_are_what_the_command_counts():
    lines = list(csv.DictReader((DOCS / "families.csv").read_text().splitlines()))
    for kind, title in (("clip", "X3D"), ("clip", "MC3"), ("volume", "UNet ACS")):
        for point in measure(kind, title):
            line = {key: str(value) for key, value in vars(point).items()}
            assert line in lines
