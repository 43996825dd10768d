"""What rendered scenes are made of: stuff told by texture and colour, and things by shape, pattern and colour.

Shape legend: H, W pixels (H = W = `size`).
"""

import numpy as np

STUFF = ("grass", "water", "sand")
THINGS = ("disk", "square", "triangle", "ring")
_STUFF_RGB = np.array([[0.20, 0.55, 0.25], [0.25, 0.45, 0.75], [0.80, 0.72, 0.50]])
THING_RGB = np.array([[0.80, 0.20, 0.20], [0.90, 0.80, 0.15], [0.55, 0.20, 0.65], [0.95, 0.95, 0.95]])


def background(size: int, two_stuff: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image [H, W, 3] and kind of stuff int16 [H, W]; with probability `two_stuff` a second one below a wavy horizon."""
    first, second = rng.choice(len(STUFF), 2, replace=False)
    kind_HW = np.full((size, size), first, dtype=np.int16)
    image = _stuff(first, size, rng)
    if rng.random() < two_stuff:
        below = _below_horizon(size, rng)
        kind_HW[below] = second
        image[below] = _stuff(second, size, rng)[below]
    return image, kind_HW


def own_coordinates(size: int, cy: float, cx: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in the coordinates (u, v) of a thing at (cy, cx) turned by `angle` (radians), both [H, W]."""
    y, x = np.mgrid[:size, :size]
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    return u, v


def inside_thing(kind: int, u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    """Boolean [H, W]: pixels of a thing of radius r."""
    rho = np.hypot(u, v)
    if kind == 0:
        return rho < r
    if kind == 1:
        return (np.abs(u) < 0.85 * r) & (np.abs(v) < 0.85 * r)
    if kind == 2:
        return (v > -0.6 * r) & (v < 1.3 * r - 2 * np.abs(u))
    return (rho > 0.35 * r) & (rho < r)


def pattern(kind: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Brightness [H, W] that a thing adds to its colour; it moves and turns with the thing."""
    if kind == 1:
        return np.where((np.floor(u / 3) + np.floor(v / 3)) % 2 == 0, 0.12, -0.12)
    if kind == 2:
        return np.where(np.floor((u + v) / 3) % 2 == 0, 0.15, -0.15)
    return np.zeros_like(u)


def _stuff(kind: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A whole image [H, W, 3] of one stuff."""
    if kind == 1:
        y, x = np.mgrid[:size, :size]
        texture = 0.07 * np.sin(1.2 * y + 2.4 * np.sin(x / 7 + rng.uniform(0, 2 * np.pi)))
    elif kind == 0:
        texture = rng.normal(0, 0.05, (size, size))
    else:
        cells = -(-size // 4)
        texture = np.kron(rng.normal(0, 0.05, (cells, cells)), np.ones((4, 4)))[:size, :size]
    colour = _STUFF_RGB[kind] + rng.normal(0, 0.03, 3)
    return colour + texture[..., None] + rng.normal(0, 0.02, (size, size, 3))


def _below_horizon(size: int, rng: np.random.Generator) -> np.ndarray:
    """Boolean [H, W]: pixels under the line h + a sin(x / w + phase)."""
    height, amplitude, width = rng.uniform(0.3, 0.7) * size, rng.uniform(-6, 6), rng.uniform(8, 20)
    line = height + amplitude * np.sin(np.arange(size) / width + rng.uniform(0, 2 * np.pi))
    return np.arange(size)[:, None] > line
