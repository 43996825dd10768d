"""What an object can be, and all words that a caption can hold."""

from __future__ import annotations

from typing import Literal

Shape = Literal["circle", "square", "triangle", "cross", "ring", "star"]
Color = Literal["red", "green", "blue", "yellow", "purple", "orange"]
Texture = Literal["plain", "striped", "dotted", "checkered"]
Background = Literal["light", "dark", "gradient"]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "cross", "ring", "star")
COLORS: tuple[Color, ...] = ("red", "green", "blue", "yellow", "purple", "orange")
TEXTURES: tuple[Texture, ...] = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS: tuple[Background, ...] = ("light", "dark", "gradient")
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

_FUNCTION_WORDS = ("a", "photo", "of", "on", "with", "and", "thing", "color", "texture", "background")

# `plain` is never written: an object without a texture is simply not called one.
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *_FUNCTION_WORDS,
            *(word for relation in RELATIONS for word in relation.split()),
            *SHAPES,
            *COLORS,
            *(texture for texture in TEXTURES if texture != "plain"),
            *BACKGROUNDS,
        ]
    )
)
