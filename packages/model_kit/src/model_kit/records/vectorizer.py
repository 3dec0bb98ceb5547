"""From a text to its n-grams, and from these to a few numbers: the same code in training and in serving.

N-grams are those of scikit-learn's CountVectorizer and TfidfVectorizer with the same parameters; a test compares both.
Needs numpy only.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import SpecError
from model_kit.spec.learning import find_words

Analyzer = Literal["word", "char", "char_wb"]
FORMAT: Final = 1
#: Significant digits of weights in a file: what they change is a thousandth of what an export may differ by.
DIGITS: Final = 10
#: Words whose n-grams are remembered, and characters of the longest of them: at most a few megabytes.
MOST_WORDS: Final = 10_000
LONGEST_WORD: Final = 30
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

    def __call__(self, text: str) -> list[str]:
        """The n-grams of a text, in order, as often as they occur."""
        text = self._prepared(text)
        if self.analyzer == "word":
            return self._of_words(text)
        if self.analyzer == "char":
            return self._of_characters(_BLANKS.sub(" ", text))
        return [gram for word in text.split() for gram in self.of_word(word)]

    def with_words(self, text: str) -> list[tuple[str, str]]:
        """Each n-gram of a text with the word that it is of: itself, but of characters within words."""
        if self.analyzer == "char_wb":
            return [(gram, word) for word in self.split(text) for gram in self.of_word(word)]
        return [(gram, gram) for gram in self(text)]

    def split(self, text: str) -> list[str]:
        """The words that characters are taken of: what blanks part."""
        return self._prepared(text).split()

    def _prepared(self, text: str) -> str:
        if self.lowercase:
            text = text.lower()
        if self.strip_accents and not text.isascii():
            text = _without_accents(text, self.strip_accents)
        return text

    @cached_property
    def _find_words(self) -> Callable[[str], list[str]]:
        return re.compile(self.token_pattern).findall

    def _of_words(self, text: str) -> list[str]:
        words = self._find_words(text)
        if self.stop_words:
            words = [word for word in words if word not in self._stopped]
        fewest, most = self.ngram_range
        grams = list(words) if fewest == 1 else []
        for n in range(max(fewest, 2), most + 1):
            grams += map(" ".join, zip(*(words[start:] for start in range(n)), strict=False))
        return grams

    @cached_property
    def _stopped(self) -> frozenset[str]:
        return frozenset(self.stop_words)

    def _of_characters(self, text: str) -> list[str]:
        fewest, most = self.ngram_range
        return [text[start : start + n] for n in range(fewest, most + 1) for start in range(len(text) - n + 1)]

    def of_word(self, word: str) -> list[str]:
        """The n-grams of characters within a word and the blanks around it."""
        fewest, most = self.ngram_range
        padded = f" {word} "
        length = len(padded)
        grams: list[str] = []
        for n in range(fewest, most + 1):
            if n >= length:
                # Short words count once, whatever the length asked for.
                grams.append(padded)
                break
            grams += [padded[start : start + n] for start in range(length - n + 1)]
        return grams


def _without_accents(text: str, how: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    if how == "ascii":
        return apart.encode("ascii", "ignore").decode()
    return "".join(character for character in apart if not unicodedata.combining(character))


@dataclass(frozen=True, eq=False)
class Block:
    """A linear function of the TF-IDF vector that one vectorizer makes of a text.

    Attributes:
        vectorizer: makes the n-grams.
        vocabulary: n-gram -> its place; other n-grams count for nothing.
        weights: shape (n_grams, width).
        idf: inverse document frequency of each n-gram, shape (n_grams,); ``None`` if it is not used.
        norm: the vector is divided by its norm.
        sublinear_tf: the count of an n-gram is replaced by 1 + its logarithm.
        binary: by 1.
    """

    vectorizer: Vectorizer
    vocabulary: Mapping[str, int]
    weights: NDArray[np.float64]
    idf: NDArray[np.float64] | None = None
    norm: Literal["l1", "l2"] | None = "l2"
    sublinear_tf: bool = False
    binary: bool = False

    def vector(self, text: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The text's vector without its zeros: places of n-grams, in order of occurrence, and their values."""
        if self.vectorizer.analyzer == "char_wb":
            found = list(chain.from_iterable(map(self._places_of, self.vectorizer.split(text))))
        else:
            found = self._find(self.vectorizer(text))
        if not found:
            return np.empty(0, np.intp), np.empty(0)
        # Counting in a dict is faster than sorting: most texts are short.
        counts = Counter(found)
        places = np.fromiter(counts, np.intp, len(counts))
        if self.binary or len(counts) == len(found):
            values = np.ones(len(counts))
        else:
            values = np.fromiter(counts.values(), np.float64, len(counts))
            if self.sublinear_tf:
                values = np.log(values) + 1
        if self.idf is not None:
            values *= self.idf[places]
        if self.norm == "l2":
            values /= math.sqrt(values @ values)
        elif self.norm == "l1":
            values /= values.sum()
        return places, values

    def _find(self, grams: Iterable[str]) -> list[int]:
        """Places of those n-grams that are known."""
        return [place for place in map(self.vocabulary.get, grams) if place is not None]

    @cached_property
    def _places_of(self) -> Callable[[str], Sequence[int]]:
        """Word -> places of the n-grams within it; most words of a text occurred before."""
        return _Places(lambda word: tuple(self._find(self.vectorizer.of_word(word)))).__getitem__


class _Places(dict[str, Sequence[int]]):
    """Word -> places of the n-grams within it, kept for :data:`MOST_WORDS` short words: a look costs no call."""

    def __init__(self, find: Callable[[str], Sequence[int]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, word: str) -> Sequence[int]:
        found = self._find(word)
        if len(word) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = found
        return found


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
        total = np.zeros(self.width)
        is_known = False
        for block in self.blocks:
            places, values = block.vector(text)
            if len(places):
                is_known = True
                total += values @ block.weights[places]
        return len(find_words(text)) if is_known else 0, total.tolist()

    def words(self, text: str, column: int) -> dict[str, float]:
        """Word or n-gram of a text -> what it adds to a number that the function gives; they add up to it."""
        found: dict[str, float] = {}
        for block in self.blocks:
            grams = block.vectorizer.with_words(text)
            values = dict(zip(*(part.tolist() for part in block.vector(text)), strict=True))
            counts = Counter(gram for gram, _ in grams)
            for gram, word in grams:
                if (place := block.vocabulary.get(gram)) is not None:
                    share = values[place] * float(block.weights[place, column]) / counts[gram]
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
                "idf": None if block.idf is None else _rounded(block.idf.tolist()),
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
    listed = facts.pop("idf")
    idf = None if listed is None else np.array(listed, np.float64)
    if weights.shape[0] != len(grams) or (idf is not None and len(idf) != len(grams)):
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
