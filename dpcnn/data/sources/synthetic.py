"""The built-in digits: 28x28 handwriting drawn by the program, for when there is no MNIST.

A digit is a few pen strokes. Each image takes one of its class's glyphs, moves the points that the
strokes pass through, bends, slants, scales and shifts the whole, and inks the pixels nearby.

Only + - * / and square roots are used, which IEEE 754 rounds alike on every machine: no BLAS, no
exp, no sin. So machines that train together draw the same bytes.

Axes: V glyphs (variants of writing a digit), P points that a glyph passes through, K dots along its
strokes, N images; the batch N is innermost. Coordinates are pixels, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLASSES = 10
SIDE = 28  # of an image; the digit about fills a 20x20 box in the middle, as in MNIST
BOX = 20
DOTS = 72  # K: less than a pixel apart on the longest digit, so that they merge into a stroke
STEPS = 24  # samples of a curve between two points, from which the dots are chosen
CHUNK = 128  # images drawn at a time: the (28, 28, N) float32 buffers stay in the L2 cache

# How much images vary, uniformly: about as much as people's writing, and enough for one epoch of
# training to leave something to learn in the next.
JITTER = 1.1  # pixels either way, for each point
BEND = 1.2  # pixels, at the edges of the box, of each term of a smooth warp
TURN = 0.11  # tangent of half the angle: up to 12.5 degrees
SLANT = (-0.2, 0.5)  # most people lean to the right
SIZE = (0.75, 0.95)  # of the box, for the longer side, without the width of the pen
STRETCH = 0.18  # of the width, either way
SHIFT = 1.2  # pixels; plus half of 19 and a pen's 2.75 that is less than 13.5, the image's edge
PEN = (0.8, 1.75)  # radius in pixels
PRESSURE = 0.35  # drift of the squared radius from start to end, as a share of it
SOFT = (1.0, 1.6)  # pixels over which the edge of the ink fades: antialiasing and blur
INK = (0.8, 1.0)
GRAIN = 0.04  # of full ink: the strongest noise

# The glyphs of each digit: "x,y" points in the 20x20 box, `|` between strokes. A stroke is a smooth
# curve through its points, closed if it ends where it starts. Equal points are one point and move
# together, so that strokes which meet stay joined.
GLYPHS: tuple[tuple[str, ...], ...] = (
    (  # 0: round, slim, with its ends crossing at the top
        "7,1 3,10 7,19 13,19 17,10 13,1 7,1",
        "8,1 6,10 8,19 12,19 14,10 12,1 8,1",
        "13,2 9,0 4,6 4,15 10,20 16,14 15,4 8,1",
    ),
    (  # 1: a bar, with a serif, with serif and foot
        "10,0 10,7 10,13 10,20",
        "8,5 9,2 11,0 | 11,0 11,10 11,20",
        "6,4 9,2 10,0 | 10,0 10,10 10,20 | 5,20 10,20 15,20",
    ),
    (  # 2: with a corner, with a loop, with a wavy foot
        "4,5 6,1 11,0 15,4 13,10 9,15 4,20 | 4,20 10,20 17,20",
        "4,4 8,0 13,1 15,6 12,12 9,16 5,20 2,17 5,14 10,17 14,20 18,18",
        "5,3 10,0 14,3 13,9 9,14 3,19 | 3,19 8,17 13,19 17,18",
    ),
    (  # 3: two bowls, with a nose, with a flat top
        "4,3 9,0 14,2 14,6 9,9 | 9,9 15,11 16,16 11,20 6,19 3,17",
        "4,2 9,0 14,3 12,8 8,10 8,9 13,10 16,14 13,19 8,20 3,18",
        "4,0 10,0 15,0 | 15,0 12,4 9,8 | 9,8 14,10 16,14 13,19 8,20 3,18",
    ),
    (  # 4: open, closed, open and round
        "6,0 5,6 3,12 | 3,12 10,12 17,11 | 14,2 13,11 12,20",
        "13,0 8,6 3,13 | 3,13 10,13 17,13 | 13,0 13,10 13,20",
        "4,1 3,6 5,10 10,11 15,9 | 16,0 15,9 13,20",
    ),
    (  # 5: with corners, with a hat, in one sweep
        "16,0 11,0 6,0 | 6,0 5,4 5,8 | 5,8 10,7 15,10 15,16 10,20 4,18",
        "7,1 6,5 6,9 | 6,9 11,8 15,12 14,17 9,20 4,18 | 7,1 12,1 17,0",
        "16,0 11,0 7,2 6,7 11,9 15,13 13,18 8,20 3,18",
    ),
    (  # 6: bent, upright, with a wide bowl
        "13,0 8,4 5,9 5,15 9,20 14,18 15,14 12,11 8,11 5,15",
        "8,0 6,6 5,15 7,19 12,20 15,16 12,12 8,12 5,15",
        "15,1 9,3 4,9 3,15 8,20 14,19 17,14 13,10 8,11 3,15",
    ),
    (  # 7: plain, with a bar, with a serif, with a wave
        "3,1 10,1 16,1 | 16,1 12,9 9,20",
        "3,1 10,1 16,1 | 16,1 12,10 8,20 | 6,11 11,11 16,10",
        "3,5 4,1 | 4,1 10,1 16,0 | 16,0 13,9 11,20",
        "3,3 6,1 11,2 16,1 | 16,1 11,9 9,20",
    ),
    (  # 8: one crossing stroke, two rings, slim
        "15,3 10,0 5,3 7,8 13,12 15,16 10,20 5,16 7,12 13,8 15,3",
        "10,0 6,2 6,7 10,9 14,7 14,2 10,0 | 10,9 5,12 5,17 10,20 15,17 15,12 10,9",
        "13,3 10,0 7,3 8,8 12,12 13,16 10,20 7,16 8,12 12,8 13,3",
    ),
    (  # 9: with a straight tail, a curved one, and in one stroke
        "15,3 10,0 5,2 4,7 8,10 13,8 15,3 | 15,3 14,11 14,20",
        "15,4 10,0 5,3 5,8 9,10 14,8 15,4 | 15,4 15,11 13,18 9,20 5,18",
        "14,3 9,0 5,4 6,9 11,9 14,3 | 14,3 13,9 11,15 8,20",
    ),
)


@dataclass(frozen=True)
class Font:
    """All glyphs, each a linear map from its points to the dots of its strokes.

    points (2, P, V): where the points are; unused ones are 0. weights (P, K, V): dot k lies at the
    sum over p of weights[p, k] * points[:, p]. first (11,): class c has the glyphs from first[c] to
    before first[c + 1].
    """

    points: Floats
    weights: Floats
    first: NDArray[np.int64]


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (count, 28, 28) and labels (count,), uint8; a pure function of its arguments.

    0 is background, 255 full ink. The labels are in random order; every class occurs equally often,
    give or take one.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = rng.permutation(np.arange(count) % CLASSES).astype(np.uint8)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        dots = _place(_bend(_write(labels[part], rng), rng), rng)
        images[part] = _ink(dots, rng).transpose(2, 0, 1)
    return images, labels


def _write(labels: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """Return the dots (2, K, N) of a glyph for each label, about the origin, box -1 to 1."""
    font = _font()
    variants = font.first[labels + 1] - font.first[labels]
    glyph = font.first[labels] + (rng.random(labels.size) * variants).astype(np.int64)
    points = font.points[:, :, glyph]
    points += _between(-JITTER, JITTER, points.shape, rng)
    weights = font.weights[:, :, glyph]
    dots = np.zeros((2, DOTS, labels.size))
    for p in range(len(weights)):
        dots += weights[p] * points[:, None, p]
    return dots / (BOX / 2) - 1


def _bend(dots: Floats, rng: np.random.Generator) -> Floats:
    """Return the dots (2, K, N) moved by a random smooth field of all terms of degree 2 and 3."""
    x, y = dots
    terms = (x * x, x * y, y * y, x * x * x, x * x * y, x * y * y, y * y * y)
    limit = BEND / (BOX / 2)
    size = (len(terms), 2, 1, x.shape[-1])
    bent = dots.copy()
    for strength, term in zip(_between(-limit, limit, size, rng), terms, strict=True):
        bent += strength * term
    return bent


def _place(dots: Floats, rng: np.random.Generator) -> Floats:
    """Return the dots (2, K, N) slanted, stretched, turned and moved to the image's middle."""
    count = dots.shape[-1]
    x, y = dots
    x = x - y * _between(*SLANT, count, rng)
    x = x * _between(1 - STRETCH, 1 + STRETCH, count, rng)
    t = _between(-TURN, TURN, count, rng)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y])
    low: Floats = turned.min(axis=1, keepdims=True)
    high: Floats = turned.max(axis=1, keepdims=True)
    longer: Floats = (high - low).max(axis=0)
    scale = _between(*SIZE, count, rng) * BOX / longer
    middle = (SIDE - 1) / 2 + _between(-SHIFT, SHIFT, (2, 1, count), rng)
    return (turned - (low + high) / 2) * scale + middle


def _ink(dots: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return images (28, 28, N) of strokes along the dots (2, K, N)."""
    count = dots.shape[-1]
    pen, soft = _between(*PEN, count, rng), _between(*SOFT, count, rng).astype(np.float32)
    drift = _between(-PRESSURE, PRESSURE, count, rng) * pen * pen
    distance = np.sqrt(_squared_distance(dots, drift * np.linspace(-1, 1, DOTS)[:, None]))
    edge = pen.astype(np.float32) + soft / 2
    cover = np.clip((edge - distance) / soft, 0, 1)
    cover *= _between(*INK, count, rng).astype(np.float32)
    grain = _between(0, GRAIN / 255, count, rng).astype(np.float32)
    cover += rng.integers(0, 256, cover.shape, np.uint8) * grain
    return (np.minimum(cover, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _squared_distance(dots: Floats, drift: Floats) -> NDArray[np.float32]:
    """Return min over k of |pixel - dot k|^2 + drift k, at least 0, as (28, 28, N) float32.

    dots (2, K, N), drift (K, N). Nearly all time is spent here: two passes over the images a dot.
    """
    pixel = np.arange(SIDE, dtype=np.float32)[:, None]
    nearest = np.full((SIDE, SIDE, dots.shape[-1]), np.inf, np.float32)
    here = np.empty_like(nearest)
    for x, y, offset in zip(*dots.astype(np.float32), drift.astype(np.float32), strict=True):
        across, down = pixel - x, pixel - y
        np.add((down * down + offset)[:, None], across * across, out=here)
        np.minimum(nearest, here, out=nearest)
    return np.maximum(nearest, 0)


def _between(
    low: float, high: float, size: int | tuple[int, ...], rng: np.random.Generator
) -> Floats:
    """Return uniform numbers. Generator.uniform may round differently on another machine."""
    return low + (high - low) * rng.random(size)


@cache
def _font() -> Font:
    """Return GLYPHS as arrays."""
    glyphs = [_glyph(text) for texts in GLYPHS for text in texts]
    most = max(len(points) for points, _ in glyphs)
    font = Font(
        points=np.zeros((2, most, len(glyphs))),
        weights=np.zeros((most, DOTS, len(glyphs))),
        first=np.cumsum([0, *(len(texts) for texts in GLYPHS)]),
    )
    for v, (points, weights) in enumerate(glyphs):
        font.points[:, : len(points), v] = points.T
        font.weights[: len(points), :, v] = weights.T
    return font


def _glyph(text: str) -> tuple[Floats, Floats]:
    """Return the points (P, 2) of one glyph, and the weights (K, P) of its dots."""
    strokes = [stroke.split() for stroke in text.split("|")]
    names = list(dict.fromkeys(name for stroke in strokes for name in stroke))
    points = np.array([[float(number) for number in name.split(",")] for name in names])
    curves = [_curve([names.index(name) for name in stroke], len(names)) for stroke in strokes]
    # Dots are spread evenly along the strokes; the jump from one stroke to the next has length 0.
    lengths = [0.0]
    for curve in curves:
        samples = (curve[:, :, None] * points).sum(axis=1)  # as curve @ points, without BLAS
        dx, dy = np.diff(samples, axis=0).T
        lengths += [*np.sqrt(dx * dx + dy * dy), 0.0]
    along = np.cumsum(lengths[:-1])
    chosen = np.searchsorted(along, np.linspace(0, along[-1], DOTS))
    return points, np.concatenate(curves)[chosen]


def _curve(stroke: list[int], count: int) -> Floats:
    """Return the weights (samples, count) of a glyph's points along a Catmull-Rom spline.

    stroke: the numbers of the points that it passes through, out of `count`.
    """
    through = np.eye(count)[stroke]
    if stroke[0] == stroke[-1]:
        before, after = through[-2], through[1]
    else:  # as if the curve continued straight on
        before, after = 2 * through[0] - through[1], 2 * through[-1] - through[-2]
    a = np.stack([before, *through[:-2]])[:, None]
    b, c = through[:-1, None], through[1:, None]
    d = np.stack([*through[2:], after])[:, None]
    t = np.linspace(0, 1, STEPS + 1)[:, None]
    spans = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([*spans[:, :-1], through[-1:]]).reshape(-1, count)
