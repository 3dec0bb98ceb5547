"""From a text to its n-grams, and from these to a few numbers: the same code in training and in serving.

N-grams are those of scikit-learn's CountVectorizer and TfidfVectorizer with the same parameters; a test compares both.
Needs numpy only.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import SpecError
from model_kit.spec.learning import find_words

Analyzer = Literal["word", "char", "char_wb"]
FORMAT: Final = 1
#: Significant digits of weights in a file: what they change is a thousandth of what an export may differ by.
DIGITS: Final = 10
_BLANKS: Final = re.compile(r"\s\s+")


@dataclass(frozen=True)
class Vectorizer:
    """Splits texts into n-grams.

    Attributes:
        analyzer: n-grams of words, of characters, or of characters within words and the blanks around them.
        ngram_range: fewest and most words or characters of an n-gram.
        lowercase: texts are lowercased first.
        strip_accents: how accents are taken off.
        token_pattern: regular expression of a word.
        stop_words: words that are left out.
    """

    analyzer: Analyzer = "word"
    ngram_range: tuple[int, int] = (1, 1)
    lowercase: bool = True
    strip_accents: Literal["unicode", "ascii"] | None = None
    token_pattern: str = r"(?u)\b\w\w+\b"  # noqa: S105 - of words
    stop_words: tuple[str, ...] = ()

    def __call__(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield each n-gram with the word that it is of: itself, but of characters within words."""
        if self.lowercase:
            text = text.lower()
        if self.strip_accents and not text.isascii():
            text = _without_accents(text, self.strip_accents)
        if self.analyzer == "word":
            yield from ((gram, gram) for gram in self._of_words(text))
        elif self.analyzer == "char":
            yield from ((gram, gram) for gram in self._of_characters(_BLANKS.sub(" ", text)))
        else:
            yield from self._within_words(text)

    @cached_property
    def _find_words(self) -> Callable[[str], list[str]]:
        return re.compile(self.token_pattern).findall

    def _of_words(self, text: str) -> list[str]:
        words = self._find_words(text)
        if self.stop_words:
            words = [word for word in words if word not in self._stopped]
        fewest, most = self.ngram_range
        if most == 1:
            return words
        return [
            " ".join(words[start : start + n]) for n in range(fewest, most + 1) for start in range(len(words) - n + 1)
        ]

    @cached_property
    def _stopped(self) -> frozenset[str]:
        return frozenset(self.stop_words)

    def _of_characters(self, text: str) -> list[str]:
        fewest, most = self.ngram_range
        return [text[start : start + n] for n in range(fewest, most + 1) for start in range(len(text) - n + 1)]

    def _within_words(self, text: str) -> Iterator[tuple[str, str]]:
        fewest, most = self.ngram_range
        for word in text.split():
            padded = f" {word} "
            for n in range(fewest, most + 1):
                if n >= len(padded):
                    # Short words count once, whatever the length asked for.
                    yield padded, word
                    break
                for start in range(len(padded) - n + 1):
                    yield padded[start : start + n], word


def _without_accents(text: str, how: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    if how == "ascii":
        return apart.encode("ascii", "ignore").decode()
    return "".join(character for character in apart if not unicodedata.combining(character))


@dataclass(frozen=True)
class Block:
    """A linear function of the TF-IDF vector that one vectorizer makes of a text.

    Attributes:
        vectorizer: makes the n-grams.
        vocabulary: n-gram -> its place; other n-grams count for nothing.
        weights: shape (n_grams, width).
        idf: inverse document frequency of each n-gram; empty if it is not used.
        norm: the vector is divided by its norm.
        sublinear_tf: the count of an n-gram is replaced by 1 + its logarithm.
        binary: by 1.
    """

    vectorizer: Vectorizer
    vocabulary: Mapping[str, int]
    weights: NDArray[np.float64]
    idf: tuple[float, ...] = ()
    norm: Literal["l1", "l2"] | None = "l2"
    sublinear_tf: bool = False
    binary: bool = False
    _columns: list[list[float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", self.weights.T.tolist())

    def values(self, grams: Iterable[str]) -> dict[int, float]:
        """The text's vector: place of an n-gram -> its value, without zeros."""
        counts: dict[int, float] = {}
        find = self.vocabulary.get
        for gram in grams:
            place = find(gram)
            if place is not None:
                counts[place] = counts.get(place, 0) + 1
        if self.binary:
            counts = dict.fromkeys(counts, 1.0)
        elif self.sublinear_tf:
            counts = {place: 1 + math.log(count) for place, count in counts.items()}
        if self.idf:
            counts = {place: count * self.idf[place] for place, count in counts.items()}
        if not self.norm or not counts:
            return counts
        if self.norm == "l2":
            length = math.sqrt(math.fsum(value * value for value in counts.values()))
        else:
            length = math.fsum(map(abs, counts.values()))
        return {place: value / length for place, value in counts.items()}

    def project(self, values: Mapping[int, float]) -> list[float]:
        """``values @ weights``, shape (width,)."""
        return [sum(value * column[place] for place, value in values.items()) for column in self._columns]


class TextProjection:
    """A linear function of a text's n-grams, as training found it.

    Attributes:
        blocks: their sum is the function.
        width: numbers that it gives.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self.width = self.blocks[0].weights.shape[1]

    def __call__(self, text: str) -> tuple[int, list[float]]:
        """The number of a text's words, 0 if none of its n-grams is known, and what the function gives."""
        total = [0.0] * self.width
        is_known = False
        for block in self.blocks:
            if values := block.values(gram for gram, _ in block.vectorizer(text)):
                is_known = True
                total = [one + more for one, more in zip(total, block.project(values), strict=True)]
        return len(find_words(text)) if is_known else 0, total

    def words(self, text: str, column: int) -> dict[str, float]:
        """Word or n-gram of a text -> what it adds to a number that the function gives; they add up to it."""
        found: dict[str, float] = {}
        for block in self.blocks:
            grams = list(block.vectorizer(text))
            values = block.values(gram for gram, _ in grams)
            counts: dict[int, int] = {}
            for gram, _ in grams:
                if (place := block.vocabulary.get(gram)) is not None:
                    counts[place] = counts.get(place, 0) + 1
            for gram, word in grams:
                if (place := block.vocabulary.get(gram)) is not None:
                    share = values[place] * float(block.weights[place, column]) / counts[place]
                    found[word] = found.get(word, 0.0) + share
        return found

    def some_words(self, n: int) -> list[str]:
        """Known words or n-grams, for made-up texts: ``n`` of them, spread over the vocabulary."""
        known = sorted({gram.strip() for block in self.blocks for gram in block.vocabulary} - {""})
        return known[:: max(1, len(known) // n)][:n]

    def to_dict(self) -> list[dict[str, Any]]:
        """The function as JSON."""
        return [
            asdict(block.vectorizer)
            | {"norm": block.norm, "sublinear_tf": block.sublinear_tf, "binary": block.binary}
            | {
                "grams": sorted(block.vocabulary, key=block.vocabulary.__getitem__),
                "idf": _rounded(block.idf),
                "weights": [_rounded(column) for column in block.weights.T.tolist()],
            }
            for block in self.blocks
        ]

    @classmethod
    def from_dict(cls, document: Sequence[Mapping[str, Any]]) -> TextProjection:
        """Read what :meth:`to_dict` wrote.

        Raises:
            SpecError: it is something else.
        """
        try:
            return cls([_block(dict(one)) for one in document])
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise SpecError(f"no table of n-grams: {error!r}") from error


def _block(facts: dict[str, Any]) -> Block:
    grams, weights = facts.pop("grams"), np.array(facts.pop("weights"), np.float64).T
    function = {name: facts.pop(name) for name in ("norm", "sublinear_tf", "binary")}
    idf = tuple(facts.pop("idf"))
    if weights.shape[0] != len(grams) or len(idf) not in (0, len(grams)):
        raise ValueError("weights, idf and n-grams differ in number")
    for name in ("ngram_range", "stop_words"):
        facts[name] = tuple(facts[name])
    vocabulary = {gram: place for place, gram in enumerate(grams)}
    return Block(Vectorizer(**facts), vocabulary, weights, idf, **function)


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]


def dump_texts(texts: Mapping[str, TextProjection]) -> bytes:
    """``vocabulary.json``: field -> its function."""
    document = {"format": FORMAT, "fields": {name: text.to_dict() for name, text in texts.items()}}
    return (json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n").encode()


def load_texts(content: bytes) -> dict[str, TextProjection]:
    """Read ``vocabulary.json``.

    Raises:
        SpecError: it is something else, or of another format.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise SpecError(f"format {document['format']!r}; this version reads {FORMAT}")
        return {name: TextProjection.from_dict(one) for name, one in document["fields"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"no table of n-grams: {error!r}") from error
