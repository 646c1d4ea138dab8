"""Photos and scans of handwritten digits, made from MNIST's: what people's pictures are like.

Axes: (height, width) floats from 0 to 1, colours (height, width, 3). Cover is the share of a pixel
that is under ink. Everything about a picture besides its digit is random, but fixed by the seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[Any]
Rng = np.random.Generator

SIZE = 300, 400  # of a picture, where nothing else is said
WHITE = np.array([0.95, 0.94, 0.91])
PENS = np.array([[0.1, 0.1, 0.12], [0.1, 0.15, 0.5], [0.6, 0.1, 0.12], [0.1, 0.35, 0.2]])
RULES = np.array([[0.55, 0.68, 0.85], [0.7, 0.7, 0.72], [0.85, 0.6, 0.65]])
MASTER = 168  # the side of the enlarged MNIST image whose strokes get sharp edges


def strokes(digit: Array, height: int, pen: float | None = None) -> Array:
    """Return the cover of an MNIST image (28, 28) redrawn with sharp edges, as high as asked for.

    pen: its width as a share of the height; None: as wide as in the image.
    """
    large = Image.fromarray(digit).resize((MASTER, MASTER), Image.Resampling.BICUBIC)
    mask = np.asarray(large.filter(ImageFilter.GaussianBlur(2)), float) > 0.45 * 255
    if pen is not None:
        radius = float(pen * np.ptp(np.flatnonzero(mask.any(1))) / 2)
        line = Image.fromarray(thinned(mask).astype(np.uint8) * 255)
        spread = np.asarray(line.filter(ImageFilter.GaussianBlur(radius)), float)
        mask = spread > 0.6 * 255 / (np.sqrt(2 * np.pi) * radius)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    ink = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    wide = max(2, round(ink.shape[1] * height / ink.shape[0]))
    drawn = Image.fromarray(ink.astype(np.uint8) * 255)
    return np.asarray(drawn.resize((wide, height), Image.Resampling.BICUBIC), float) / 255


def thinned(mask: Array) -> Array:
    """Return the centre lines of strokes: T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm
    for thinning digital patterns", Communications of the ACM 27(3), 1984."""
    around = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    mask, before = np.pad(mask, 1), None
    while before is None or not np.array_equal(mask, before):
        before = mask
        for triples in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            p = np.stack([np.roll(mask, (-down, -right), (0, 1)) for down, right in around])
            count, turns = p.sum(0), np.sum(~p & np.roll(p, -1, 0), axis=0)
            edge = mask & (count >= 2) & (count <= 6) & (turns == 1)
            for triple in triples:
                edge &= ~p[list(triple)].all(0)
            mask = mask & ~edge
    return mask[1:-1, 1:-1]


def placed(ink: Array, rng: Rng, size: tuple[int, int] = SIZE, margin: float = 0.04) -> Array:
    """Return the cover of a whole picture with the ink somewhere in it."""
    page = np.zeros(size)
    start = []
    for side, length in zip(size, ink.shape, strict=True):
        least = min(round(margin * side), (side - length) // 2)
        start.append(int(rng.integers(least, side - length - least + 1)))
    page[start[0] : start[0] + ink.shape[0], start[1] : start[1] + ink.shape[1]] = ink
    return page


def turned(cover: Array, degrees: float) -> Array:
    picture = Image.fromarray((cover * 255).astype(np.uint8))
    return np.asarray(picture.rotate(degrees, Image.Resampling.BICUBIC), float) / 255


def written(
    digit: Array, rng: Rng, size: tuple[int, int] = SIZE, pen: float | None = None
) -> Array:
    """Return the cover of a picture of one digit, 35 to 75 % as high as it, slightly turned."""
    ink = strokes(digit, round(SIZE[0] * rng.uniform(0.35, 0.75)), pen)
    return turned(placed(ink, rng, margin=0.1), rng.uniform(-10, 10))


def grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """Return y and x of each pixel, from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    return y, x


def ramp(size: tuple[int, int], rng: Rng) -> Array:
    y, x = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    return np.cos(angle) * x + np.sin(angle) * y


def noise(size: tuple[int, int], rng: Rng, grain: int) -> Array:
    """Return noise of standard deviation 1 whose grains have so many pixels."""
    small = rng.normal(0, 1, (size[0] // grain + 2, size[1] // grain + 2)).astype(np.float32)
    large = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(large, float)


def paint(cover: Array, rng: Rng, paper: Array = WHITE, ink: Array | None = None) -> Array:
    """Return a sheet in colours: paper with its texture, under the ink."""
    size = cover.shape
    texture = 1 + 0.01 * noise(size, rng, 2) + 0.012 * noise(size, rng, 23)
    ink = PENS[rng.integers(len(PENS))] if ink is None else ink
    pressure = (cover * rng.uniform(0.85, 1))[..., None]
    return (paper * texture[..., None]) * (1 - pressure) + ink * pressure


def shot(colours: Array, rng: Rng, quality: int = 70, grain: float = 0.02) -> Image.Image:
    """Return the colours as a camera has them: out of focus, noisy, stored as JPEG."""
    noisy = colours + rng.normal(0, grain, colours.shape)
    picture = Image.fromarray((noisy.clip(0, 1) * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def lit(colours: Array, light: Array) -> Array:
    return colours * light[..., None]


def scan(digit: Array, rng: Rng) -> Image.Image:
    return shot(paint(written(digit, rng), rng, ink=PENS[0]), rng, 90, 0.005)


def dirty_scan(digit: Array, rng: Rng) -> Image.Image:
    """A scan with dust, punch holes and the scanner's black margin."""
    colours = paint(written(digit, rng), rng, ink=PENS[rng.integers(2)])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for _ in range(12):
        spot = np.hypot(y - rng.integers(SIZE[0]), x - rng.integers(SIZE[1])) < rng.uniform(0.7, 2)
        colours[spot] = 0.3
    for row in (75, 225):
        colours[np.hypot(y - row, x - 18) < 10] = 0.15
    slope = rng.uniform(-0.02, 0.02)
    colours[x + slope * y > SIZE[1] - rng.integers(4, 14)] = 0.05
    colours[y + slope * x < rng.integers(0, 8)] = 0.05
    return shot(colours, rng, 80, 0.01)


def soft_light(digit: Array, rng: Rng) -> Image.Image:
    light = 0.72 + 0.22 * ramp(SIZE, rng)
    return shot(lit(paint(written(digit, rng), rng), light), rng, 60, 0.03)


def hard_shadow(digit: Array, rng: Rng) -> Image.Image:
    """The straight edge of a shadow across paper and digit."""
    along = (ramp(SIZE, rng) - rng.uniform(-0.35, 0.35)) * SIZE[0] / 2
    shade = 1 / (1 + np.exp(-along / rng.uniform(0.5, 4)))
    light = 1 - rng.uniform(0.35, 0.65) * shade + 0.08 * ramp(SIZE, rng)
    return shot(lit(paint(written(digit, rng), rng), light), rng, 70, 0.02)


def shadow_bands(digit: Array, rng: Rng) -> Image.Image:
    """Bands as narrow as a blind's or a window bar's, some narrower than the digit."""
    along = ramp(SIZE, rng) * SIZE[0] / 2 + rng.uniform(0, 200)
    period = rng.uniform(110, 220)
    shade = np.clip(np.sin(2 * np.pi * along / period) * period / rng.uniform(8, 30), -1, 1)
    light = 0.85 - rng.uniform(0.12, 0.25) * (shade + 1) / 2 - 0.05
    return shot(lit(paint(written(digit, rng), rng), light), rng, 75, 0.02)


def hand_shadow(digit: Array, rng: Rng) -> Image.Image:
    """The round shadow of a head or a telephone, often over a corner."""
    y, x = grid(SIZE)
    y0, x0, radius = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.4, 0.9)
    inside = radius - np.hypot(y - y0, (x - x0) * 4 / 3)
    shade = 1 / (1 + np.exp(-inside * 150 / rng.uniform(1, 8)))
    light = 0.95 - rng.uniform(0.3, 0.55) * shade
    return shot(lit(paint(written(digit, rng), rng), light), rng, 75, 0.02)


def vignette(digit: Array, rng: Rng) -> Image.Image:
    y, x = grid(SIZE)
    light = 0.95 - rng.uniform(0.25, 0.42) * (x * x + y * y) ** rng.uniform(0.7, 1.3)
    return shot(lit(paint(written(digit, rng), rng), light.clip(0.08)), rng, 70, 0.02)


def _rules(rng: Rng, squared: bool) -> Array:
    """Return the cover of printed lines, a sheet of paper put down slightly askew."""
    spacing = rng.uniform(18, 60) if squared else rng.uniform(28, 110)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    angle = np.deg2rad(rng.uniform(-6, 6))
    down, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    half, phase = rng.uniform(0.6, 1.3), rng.uniform(0, spacing, 2)
    cover = np.zeros(SIZE)
    for values, start in zip((down, across)[: 1 + squared], phase, strict=False):
        distance = np.abs((values + start) % spacing - spacing / 2)
        cover = np.maximum(cover, np.clip(half + 0.5 - distance, 0, 1))
    return cover


def _printed(digit: Array, rng: Rng, squared: bool) -> Image.Image:
    rules = _rules(rng, squared)[..., None]
    paper = WHITE * (1 - rules) + RULES[rng.integers(len(RULES))] * rules
    light = 0.85 + 0.1 * ramp(SIZE, rng)
    cover = written(digit, rng, pen=rng.uniform(0.05, 0.12))
    return shot(lit(paint(cover, rng, paper, PENS[rng.integers(2)]), light), rng, 75, 0.015)


def ruled(digit: Array, rng: Rng) -> Image.Image:
    return _printed(digit, rng, squared=False)


def squared(digit: Array, rng: Rng) -> Image.Image:
    return _printed(digit, rng, squared=True)


def pencil(digit: Array, rng: Rng) -> Image.Image:
    """Thin and faint, with the grain of the paper in the strokes."""
    cover = written(digit, rng, pen=rng.uniform(0.04, 0.08))
    cover = cover * (0.8 + 0.2 * noise(SIZE, rng, 2)).clip(0.3, 1)
    ink = WHITE * rng.uniform(0.55, 0.78)
    light = 0.8 + 0.12 * ramp(SIZE, rng)
    return shot(lit(paint(cover, rng, ink=ink), light), rng, 80, 0.015)


def ballpoint(digit: Array, rng: Rng) -> Image.Image:
    cover = written(digit, rng, pen=rng.uniform(0.025, 0.05))
    return shot(lit(paint(cover, rng), 0.85 + 0.1 * ramp(SIZE, rng)), rng, 80, 0.015)


def marker(digit: Array, rng: Rng) -> Image.Image:
    cover = written(digit, rng, pen=rng.uniform(0.14, 0.2))
    return shot(lit(paint(cover, rng), 0.85 + 0.1 * ramp(SIZE, rng)), rng, 80, 0.015)


def framed(digit: Array, rng: Rng) -> Image.Image:
    """A thin frame along the edges of the picture, or a box drawn around the digit."""
    side = int(rng.integers(120, 300))
    ink = strokes(digit, round(side * rng.uniform(0.5, 0.75)))
    if ink.shape[1] > 0.75 * side:
        ink = strokes(digit, round(ink.shape[0] * 0.75 * side / ink.shape[1]))
    cover = placed(ink, rng, (side, side), 0.1)
    inset, width = int(rng.integers(0, side // 16 + 1)), int(rng.integers(1, side // 50 + 2))
    frame = np.zeros((side, side))
    frame[inset : side - inset, inset : side - inset] = 1
    inner = slice(inset + width, side - inset - width)
    frame[inner, inner] = 0
    angle = 0 if inset < 5 else rng.uniform(-4, 4)
    cover = np.maximum(cover, turned(frame, angle))
    return shot(paint(cover, rng, ink=PENS[rng.integers(2)]), rng, 85, 0.01)


def form_box(digit: Array, rng: Rng) -> Image.Image:
    """A box of a form, in a larger picture, which the digit may nearly touch."""
    height = int(rng.integers(100, 160))
    ink = strokes(digit, height, rng.uniform(0.05, 0.11))
    gap, width = int(rng.integers(6, 40)), int(rng.integers(1, 4))
    box = np.pad(np.zeros(np.add(ink.shape, 2 * gap)), width, constant_values=1)
    box[gap + width :, gap + width :][: ink.shape[0], : ink.shape[1]] += ink
    cover = turned(placed(box.clip(0, 1), rng), rng.uniform(-7, 7))
    return shot(paint(cover, rng, ink=PENS[rng.integers(2)]), rng, 80, 0.015)


def cropped(digit: Array, rng: Rng) -> Image.Image:
    """Cropped to the ink: strokes end at the edges of the picture."""
    ink = strokes(digit, int(rng.integers(60, 260)))
    if rng.random() < 0.5:
        ink = np.pad(ink, int(rng.integers(0, 4)))
    if rng.random() < 0.3:
        return Image.fromarray(((1 - ink).clip(0, 1) * 255).astype(np.uint8))
    return shot(paint(ink, rng, ink=PENS[rng.integers(2)]), rng, 85, 0.01)


def board(digit: Array, rng: Rng) -> Image.Image:
    """Chalk on a board, or a screen in the dark: light on dark."""
    ground = np.array([[0.12, 0.2, 0.16], [0.05, 0.05, 0.06], [0.1, 0.13, 0.3]])[rng.integers(3)]
    cover = written(digit, rng, pen=rng.uniform(0.05, 0.13))
    chalk = np.array([0.85, 0.86, 0.82]) * rng.uniform(0.75, 1.1)
    light = 0.8 + 0.2 * ramp(SIZE, rng)
    return shot(lit(paint(cover, rng, ground, chalk), light), rng, 75, 0.02)


def small_picture(digit: Array, rng: Rng) -> Image.Image:
    """Drawn with a mouse in a window of 28 to 64 pixels, black on white or white on black."""
    side = int(rng.integers(28, 65))
    ink = strokes(digit, round(side * rng.uniform(0.5, 0.95)), rng.uniform(0.07, 0.14))
    if ink.shape[1] > 0.95 * side:
        ink = strokes(digit, round(ink.shape[0] * 0.95 * side / ink.shape[1]), 0.1)
    cover = placed(ink, rng, (side, side), 0).clip(0, 1)
    return Image.fromarray(((cover if rng.random() < 0.5 else 1 - cover) * 255).astype(np.uint8))


def far_away(digit: Array, rng: Rng) -> Image.Image:
    """A small digit on a large sheet."""
    ink = strokes(digit, int(rng.integers(46, 80)), rng.uniform(0.06, 0.12))
    cover = turned(placed(ink, rng, (600, 800), 0.15), rng.uniform(-5, 5))
    return shot(lit(paint(cover, rng), 0.8 + 0.15 * ramp(cover.shape, rng)), rng, 75, 0.02)


def perspective(digit: Array, rng: Rng) -> Image.Image:
    """A sheet seen at an angle, on a darker table."""
    sheet = paint(written(digit, rng, pen=rng.uniform(0.05, 0.12)), rng)
    picture = Image.fromarray((sheet.clip(0, 1) * 255).astype(np.uint8)).convert("RGBA")
    corners = np.array([[0, 0], [SIZE[1], 0], [SIZE[1], SIZE[0]], [0, SIZE[0]]], float)
    seen = corners + np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * rng.uniform(8, 45, (4, 2))
    rows = [
        row
        for (x, y), (u, v) in zip(seen, corners, strict=True)
        for row in ((x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y))
    ]
    coefficients = np.linalg.solve(np.array(rows), corners.ravel())
    picture = picture.transform(
        SIZE[::-1], Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BICUBIC
    )
    table = np.array([[0.35, 0.24, 0.16], [0.25, 0.26, 0.28], [0.5, 0.4, 0.3]])[rng.integers(3)]
    background = table * (1 + 0.06 * noise(SIZE, rng, 9))[..., None]
    pixels = np.asarray(picture, float) / 255
    colours = pixels[..., :3] * pixels[..., 3:] + background * (1 - pixels[..., 3:])
    return shot(lit(colours, 0.85 + 0.12 * ramp(SIZE, rng)), rng, 75, 0.02)


def coloured(digit: Array, rng: Rng) -> Image.Image:
    """Coloured pens on coloured paper, of which some differ little in lightness."""
    paper = np.array([[0.95, 0.9, 0.55], [0.75, 0.88, 0.95], [0.95, 0.75, 0.78]])[rng.integers(3)]
    pens = np.array([[0.85, 0.35, 0.1], [0.1, 0.45, 0.75], [0.75, 0.1, 0.4], [0.2, 0.55, 0.3]])
    cover = written(digit, rng, pen=rng.uniform(0.05, 0.12))
    light = 0.85 + 0.12 * ramp(SIZE, rng)
    return shot(lit(paint(cover, rng, paper, pens[rng.integers(4)]), light), rng, 70, 0.02)


def broken(digit: Array, rng: Rng) -> Image.Image:
    """Strokes with gaps: a dry pen."""
    cover = written(digit, rng)
    gaps = noise(SIZE, rng, 14) + 0.8 * noise(SIZE, rng, 4)
    cover = cover * np.clip((1.7 - gaps) * 3, 0, 1)
    return shot(paint(cover, rng), rng, 80, 0.015)


KINDS: dict[str, Callable[[Array, Rng], Image.Image]] = {
    kind.__name__: kind
    for kind in (
        *(scan, dirty_scan, soft_light, hard_shadow, shadow_bands, hand_shadow, vignette),
        *(ruled, squared, pencil, ballpoint, marker, framed, form_box, cropped, board),
        *(small_picture, far_away, perspective, coloured, broken),
    )
}


def several(digits: list[Array], rng: Rng) -> Image.Image:
    """Digits side by side, as in a number written down."""
    height = int(rng.integers(70, 130))
    inks = [strokes(digit, round(height * rng.uniform(0.9, 1.1))) for digit in digits]
    gaps = rng.integers(round(height * 0.15), round(height * 0.5), len(inks))
    lines = np.zeros((round(1.3 * height), sum(ink.shape[1] for ink in inks) + gaps.sum()))
    column = 0
    for ink, gap in zip(inks, gaps, strict=True):
        row = int(rng.integers(0, lines.shape[0] - ink.shape[0] + 1))
        lines[row : row + ink.shape[0], column : column + ink.shape[1]] = ink
        column += ink.shape[1] + gap
    size = SIZE[0], max(SIZE[1], lines.shape[1] + 40)
    cover = turned(placed(lines, rng, size, 0.1), rng.uniform(-4, 4))
    return shot(lit(paint(cover, rng), 0.8 + 0.15 * ramp(size, rng)), rng, 75, 0.02)


def blank(rng: Rng) -> Image.Image:
    """A sheet with nothing on it, in some light."""
    light = 0.8 + 0.15 * ramp(SIZE, rng)
    if rng.random() < 0.5:
        light = light * np.where(ramp(SIZE, rng) > rng.uniform(-0.3, 0.3), 1, rng.uniform(0.5, 0.8))
    return shot(lit(paint(np.zeros(SIZE), rng), light), rng, 75, rng.uniform(0.005, 0.03))


def blank_ruled(rng: Rng) -> Image.Image:
    rules = _rules(rng, rng.random() < 0.5)[..., None]
    paper = WHITE * (1 - rules) + RULES[rng.integers(len(RULES))] * rules
    return shot(paint(np.zeros(SIZE), rng, paper), rng, 75, 0.015)
