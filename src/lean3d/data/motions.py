"""Gestures as paths of a pose: the classes of the moving digits, in the manner of Jester.

A pose is (x, y, angle, log of the size). x points right and y down, one side of the frame is 2 and
its opposite edges are joined; angles turn clockwise. A class is one or two legs after each other.

The pairs are each other's reversal in time, or have their legs exchanged: only the order of the
legs distinguishes `left_right` from `right_left`, or `left_up` from `up_left`.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["MOTIONS", "PAIRS", "Motion", "draw_motion", "path", "turned_round"]

# change of x, y, angle and log of the size in one leg of that many frames, at speed 1
FRAMES = 24
LEGS = {
    "left": (-1, 0, 0, 0),
    "right": (1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "down": (0, 1, 0, 0),
    "ccw": (0, 0, -np.pi / 2, 0),
    "cw": (0, 0, np.pi / 2, 0),
    "in": (0, 0, 0, 0.7),
    "out": (0, 0, 0, -0.7),
    "still": (0, 0, 0, 0),
}
OPPOSITE = dict(left="right", up="down", ccw="cw")
OPPOSITE |= {"in": "out"} | {there: back for back, there in OPPOSITE.items()} | {"out": "in"}
SHAKEN = {"shake": 0, "nod": 1}
STRAIGHT = ("left", "right", "up", "down")
# "any" is a straight leg in a random direction
CLASSES = {
    **{leg: (leg,) for leg in LEGS},
    **{name: (name,) for name in SHAKEN},
    "halt": ("any", "still"),
    "start": ("still", "any"),
}
PAIRS = (
    *("left_right", "right_left", "up_down", "down_up", "ccw_cw", "cw_ccw"),
    *("left_up", "up_left", "right_down", "down_right"),
)
CLASSES |= {pair: tuple(pair.split("_")) for pair in PAIRS}
MOTIONS = tuple(CLASSES)


@dataclass(frozen=True)
class Motion:
    """The random parameters of a motion.

    Args:
        turn: Share of the video that the first of two legs takes.
        speed: Of every leg.
        any_leg: The straight leg of halt and start.
        swings: Of shake and nod: number of swings, negative to begin on the other side.
    """

    turn: float = 0.5
    speed: float = 1.5
    any_leg: str = "left"
    swings: int = 2

    def turned_round(self) -> "Motion":
        """Return the same motion reversed in time."""
        return Motion(1 - self.turn, self.speed, OPPOSITE[self.any_leg], -self.swings)


def draw_motion(random: np.random.Generator) -> Motion:
    """Draw a turn near the middle, a speed, a direction and a number of swings."""
    leg = STRAIGHT[int(random.integers(len(STRAIGHT)))]
    swings = int(random.choice((-3, -2, 2, 3)))
    return Motion(random.uniform(0.4, 0.6), random.uniform(1.2, 1.8), leg, swings)


def path(name: str, frames: int, motion: Motion) -> np.ndarray:
    """Return poses (frames, 4), float64, relative to the first frame; sizes around their mean."""
    time = np.linspace(0, 1, frames)
    legs = CLASSES[name]
    poses_T4 = np.zeros((frames, 4))
    if name in SHAKEN:
        poses_T4[:, SHAKEN[name]] = 0.2 * motion.speed * np.sin(2 * np.pi * motion.swings * time)
        return poses_T4
    knots = (0, motion.turn, 1) if len(legs) == 2 else (0, 1)
    speeds = [LEGS[motion.any_leg if leg == "any" else leg] for leg in legs]
    long = motion.speed * frames / FRAMES
    moved = [long * t * np.array(v) for t, v in zip(np.diff(knots), speeds, strict=True)]
    reached = np.cumsum([np.zeros(4), *moved], axis=0)
    for axis in range(4):
        poses_T4[:, axis] = np.interp(time, knots, reached[:, axis])
    poses_T4[:, 3] -= poses_T4[:, 3].mean()
    return poses_T4


def turned_round(name: str) -> str:
    """Return the class of a class's videos played backwards."""
    legs = tuple(OPPOSITE.get(leg, leg) for leg in reversed(CLASSES[name]))
    return next(other for other, own in CLASSES.items() if own == legs)
