"""A small grammar of phonetically varied English sentences, and fixed sentences in other languages."""

from __future__ import annotations

import numpy as np

DETERMINERS = ["the", "a", "every", "some", "that", "this", "my", "our", "your", "their"]
ADJECTIVES = [
    "brown",
    "quick",
    "happy",
    "small",
    "heavy",
    "broken",
    "purple",
    "famous",
    "very old",
    "shiny",
    "warm",
    "bitter",
    "empty",
    "huge",
    "thirsty",
    "smooth",
    "wooden",
    "gentle",
    "foolish",
    "yellow",
    "beautiful",
    "muddy",
    "popular",
    "fresh",
    "brave",
    "simple",
    "remarkable",
    "blue",
]
NOUNS = [
    "farmer",
    "window",
    "teacher",
    "bubble",
    "mother",
    "river",
    "puppy",
    "village",
    "shepherd",
    "whale",
    "engine",
    "orange",
    "bishop",
    "thief",
    "camera",
    "piano",
    "feather",
    "judge",
    "market",
    "mountain",
    "baker",
    "vase",
    "wolf",
    "chimney",
    "mayor",
    "puzzle",
    "number",
    "paper",
    "movie",
    "problem",
    "family",
    "bottle",
    "umbrella",
    "zebra",
    "museum",
]
VERBS = [
    "watched",
    "moved",
    "opened",
    "followed",
    "bought",
    "believed",
    "washed",
    "painted",
    "measured",
    "joined",
    "pushed",
    "forgot",
    "chose",
    "found",
    "kept",
    "imagined",
    "borrowed",
    "wrapped",
    "fixed",
    "shouted at",
    "improved",
    "remembered",
    "pulled",
    "avoided",
    "photographed",
    "carried",
]
PLACES = [
    "near the bay",
    "before five",
    "with both thumbs",
    "over the bridge",
    "in the yellow room",
    "beyond the old church",
    "after the show",
    "without a map",
    "above the harbour",
    "for my uncle",
    "at half past eight",
    "by the fireplace",
    "through the woods",
    "while we wait",
    "on a Wednesday morning",
    "from the first of February",
    "because of the weather",
]
FRAMES = [
    "I think {0}.",
    "Maybe {0}.",
    "{0}.",
    "Why would you say that {0}?",
    "We found out that {0}.",
    "You know, {0}.",
    "Honestly, {0}.",
    "Please remember that {0}.",
    "Well, {0}, and then we all went home.",
    "Did you hear that {0}?",
    "As far as I know, {0}.",
    "Good morning, and welcome back. Today {0}.",
]

FOREIGN = {
    "es": [
        "Mi madre vive cerca del mercado y compra pan todas las mañanas.",
        "El perro pequeño bebe agua fría bajo el puente.",
    ],
    "fr": [
        "Ma famille habite au bord de la mer depuis quatre ans.",
        "Le vieux boulanger prépare du pain blanc chaque matin.",
    ],
    "de": [
        "Meine Mutter fährt am Mittwoch mit dem Bus zum Bahnhof.",
        "Der freundliche Bäcker verkauft warme Brötchen und Kaffee.",
    ],
    "it": [
        "Mia madre compra il pane fresco ogni mattina al mercato.",
        "Il piccolo cane beve sempre acqua fredda vicino al ponte.",
    ],
    "pt": ["Minha mãe compra pão fresco no mercado pela manhã.", "O velho padeiro mora perto da ponte de pedra."],
    "pl": ["Moja mama kupuje świeży chleb na małym bazarze.", "Wielki pies biegnie powoli przez most."],
}
"""Own sentences for espeak-ng's other languages."""


def sentence(rng: np.random.Generator) -> str:
    """One English sentence."""

    def pick(options: list[str]) -> str:
        return options[int(rng.integers(len(options)))]

    def noun_phrase() -> str:
        adjective = [pick(ADJECTIVES)] if rng.random() < 0.6 else []
        return " ".join([pick(DETERMINERS), *adjective, pick(NOUNS)])

    body = f"{noun_phrase()} {pick(VERBS)} {noun_phrase()}"
    if rng.random() < 0.7:
        body += " " + pick(PLACES)
    return pick(FRAMES).format(body)


def foreign_sentence(language: str, rng: np.random.Generator) -> str:
    """One of the fixed sentences of a language."""
    options = FOREIGN[language]
    return options[int(rng.integers(len(options)))]
