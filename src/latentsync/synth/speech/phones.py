"""Phone classes that the mouth distinguishes, and how other alphabets map to them."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.core.errors import MediaError

SILENCE = "sil"
CLOSED = frozenset("pbm")
"""Phones that need both lips to meet."""
LIP_TO_TEETH = frozenset("fv")

VOWELS = frozenset({"iy", "ih", "eh", "ae", "ah", "aa", "ao", "uh", "uw", "er", "ey", "ay", "oy", "aw", "ow"})
CONSONANTS = frozenset(
    {
        "p",
        "b",
        "m",
        "f",
        "v",
        "th",
        "dh",
        "t",
        "d",
        "n",
        "l",
        "s",
        "z",
        "sh",
        "zh",
        "ch",
        "jh",
        "k",
        "g",
        "ng",
        "r",
        "w",
        "y",
        "hh",
    }
)
PHONES = VOWELS | CONSONANTS | {SILENCE}

ARPABET = {
    "pau": SILENCE,
    "ssil": SILENCE,
    "ax": "ah",
    "axr": "er",
    "ix": "ih",
    "el": "l",
    "em": "m",
    "en": "n",
    "nx": "n",
    "dx": "d",
    "ux": "uw",
    "hv": "hh",
    "ic": "ih",
    "@": "ah",
    "@@": "er",
    "+nsn+": SILENCE,
    "+spn+": SILENCE,
}
"""Names of the flite and pocketsphinx phone sets that differ from ours."""

IPA = (
    ("tʃ", "ch"),
    ("dʒ", "jh"),
    ("ts", "s"),
    ("pf", "f"),
    ("aɪ", "ay"),
    ("aʊ", "aw"),
    ("eɪ", "ey"),
    ("oʊ", "ow"),
    ("əʊ", "ow"),
    ("ɔɪ", "oy"),
    ("ɔø", "oy"),
    ("ɪə", "iy"),
    ("eə", "eh"),
    ("ʊə", "uh"),
    ("p", "p"),
    ("b", "b"),
    ("m", "m"),
    ("ɱ", "m"),
    ("f", "f"),
    ("ɸ", "f"),
    ("v", "v"),
    ("ʋ", "v"),
    ("θ", "th"),
    ("ð", "dh"),
    ("t", "t"),
    ("ʈ", "t"),
    ("d", "d"),
    ("ɖ", "d"),
    ("ɾ", "d"),
    ("n", "n"),
    ("l", "l"),
    ("ɫ", "l"),
    ("ʎ", "l"),
    ("s", "s"),
    ("z", "z"),
    ("ʃ", "sh"),
    ("ɕ", "sh"),
    ("ʂ", "sh"),
    ("ʒ", "zh"),
    ("ʑ", "zh"),
    ("ʐ", "zh"),
    ("k", "k"),
    ("q", "k"),
    ("c", "k"),
    ("ɡ", "g"),
    ("g", "g"),
    ("ŋ", "ng"),
    ("ɹ", "r"),
    ("ɻ", "r"),
    ("ʁ", "g"),
    ("r", "r"),
    ("w", "w"),
    ("ɥ", "w"),
    ("j", "y"),
    ("h", "hh"),
    ("ɦ", "hh"),
    ("x", "k"),
    ("χ", "k"),
    ("ʔ", "hh"),
    ("ɲ", "n"),
    ("ɳ", "n"),
    ("β", "b"),
    ("ɣ", "g"),
    ("ç", "y"),
    ("i", "iy"),
    ("ɨ", "ih"),
    ("ɪ", "ih"),
    ("ᵻ", "ih"),
    ("e", "eh"),
    ("ɛ", "eh"),
    ("æ", "ae"),
    ("a", "aa"),
    ("ɑ", "aa"),
    ("ɐ", "ah"),
    ("ʌ", "ah"),
    ("ə", "ah"),
    ("ɜ", "er"),
    ("ɚ", "er"),
    ("ɤ", "ah"),
    ("ɔ", "ao"),
    ("ɒ", "ao"),
    ("o", "ow"),
    ("ʊ", "uh"),
    ("u", "uw"),
    ("ɯ", "ih"),
    ("y", "uw"),
    ("ʏ", "uw"),
    ("ø", "uw"),
    ("œ", "er"),
)
"""IPA prefixes, longest first, to our classes; foreign rounded vowels go to the nearest rounded English one."""


@dataclass(frozen=True, slots=True)
class Phone:
    """`name` (one of PHONES) sounds from `start_s` to `end_s`, seconds from the start of the sound."""

    name: str
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if self.name not in PHONES:
            raise ValueError(f"Phone.name: unknown phone {self.name!r}")

    @property
    def centre_s(self) -> float:
        return (self.start_s + self.end_s) / 2

    def moved(self, by_s: float, stretch: float = 1.0) -> Phone:
        """The same phone after its sound is stretched in time and then delayed."""
        return Phone(self.name, self.start_s * stretch + by_s, self.end_s * stretch + by_s)


def from_arpabet(name: str) -> str:
    """Our class of an ARPAbet-like phone name, stress digits allowed."""
    plain = name.lower().rstrip("012")
    plain = ARPABET.get(plain, plain)
    if plain not in PHONES:
        raise MediaError(f"unknown phone {name!r} from the speech engine: report it with the voice's name")
    return plain


def from_ipa(symbol: str) -> str:
    """Our class of an IPA phone as espeak-ng writes it; anything that is no phone is silence."""
    plain = symbol.strip("ˈˌː_:.;‿ ‍͡\u0329")
    return next((ours for ipa, ours in IPA if plain.startswith(ipa)), SILENCE)
