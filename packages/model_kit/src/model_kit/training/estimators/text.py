"""TF-IDF of words or characters, made by the code that serves."""

from __future__ import annotations

from collections.abc import Callable

from sklearn.feature_extraction.text import TfidfVectorizer

from model_kit.records.vectorizer import Vectorizer


class TextVectorizer(TfidfVectorizer):  # type: ignore[misc]
    """scikit-learn's TfidfVectorizer, with the n-grams of :class:`model_kit.records.vectorizer.Vectorizer`."""

    def build_analyzer(self) -> Callable[[str], list[str]]:
        """Return the function from a text to its n-grams."""
        split = Vectorizer(
            analyzer=self.analyzer,
            ngram_range=tuple(self.ngram_range),
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            token_pattern=self.token_pattern,
            stop_words=tuple(sorted(self.get_stop_words() or ())),
        )
        return lambda text: [gram for gram, _ in split(text)]
