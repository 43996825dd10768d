"""Captions of scenes in a closed vocabulary, and how objects lie to each other."""

from __future__ import annotations

import numpy as np

from tasks.shape_scenes.rendering import SceneObject


def caption(objects: list[SceneObject], background: str, drop: float, rng: np.random.Generator) -> str:
    """One sentence about a scene of one to four objects.

    An adjective is left out with probability `drop`, the shape with a third of it ("thing"): single words must gain
    a meaning of their own. For the same reason one object is now and then "a circle of red color" or
    "a circle with striped texture".
    """
    first = objects[0]
    if len(objects) == 1:
        form = rng.random()
        if form < 0.1:
            return f"a {first.shape} of {first.color} color"
        if form < 0.2 and first.texture != "plain":
            return f"a {first.shape} with {first.texture} texture"
        phrase = noun_phrase(first, drop, rng)
        return f"a photo of a {phrase}" if rng.random() < 0.5 else f"a {phrase} on a {background} background"
    text = f"a {noun_phrase(first, drop, rng)} {relation(first, objects[1])} a {noun_phrase(objects[1], drop, rng)}"
    return text + "".join(f" and a {noun_phrase(other, drop, rng)}" for other in objects[2:])


def noun_phrase(thing: SceneObject, drop: float, rng: np.random.Generator) -> str:
    """`[texture] [color] shape` with words left out at random; "plain" is never written."""
    keep = rng.random(3) >= np.array([drop, drop, drop / 3])
    words = [thing.texture if keep[0] and thing.texture != "plain" else "", thing.color if keep[1] else ""]
    return " ".join([word for word in words if word] + [thing.shape if keep[2] else "thing"])


def relation(subject: SceneObject, other: SceneObject) -> str:
    """Where the subject is, seen from the other: by the larger of both distances; y grows downwards."""
    dx, dy = other.cx - subject.cx, other.cy - subject.cy
    if abs(dx) >= abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"
