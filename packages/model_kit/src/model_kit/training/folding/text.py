"""Folding of texts: what vectorizers make of words, and linear functions of that.

An n-gram is a base like any other, so that everything that is linear between vectorizer and prediction folds. What is
left of it at the end becomes a function of the text, one number for each output, which the graph adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer

from model_kit.errors import CannotFoldError
from model_kit.records.vectorizer import Block, TextProjection, Vectorizer
from model_kit.training.folding.rules import Columns, Folded, fold_transformer, require
from model_kit.training.folding.terms import Base, Clipped, Column, Gram, GramColumn, Probability, Terms, Words


@fold_transformer.register
def _count(vectorizer: CountVectorizer, columns: Columns) -> list[Column]:
    """Also of TfidfVectorizer, its subclass."""
    (words,) = columns
    if not isinstance(words, Words):
        raise CannotFoldError(f"a {type(vectorizer).__name__} of something else than a text")
    block = _block(vectorizer)
    words.blocks.append(block)
    return [GramColumn(words, len(words.blocks) - 1, place) for place in range(len(block.vocabulary))]


def _block(vectorizer: CountVectorizer) -> Block:
    name = type(vectorizer).__name__
    require(isinstance(vectorizer.analyzer, str), f"{name}(analyzer=...), a function of its own")
    require(vectorizer.preprocessor is None, f"{name}(preprocessor=...), a function of its own")
    require(vectorizer.tokenizer is None, f"{name}(tokenizer=...), a function of its own")
    require(vectorizer.strip_accents in (None, "unicode", "ascii"), f"{name}(strip_accents=...), a function of its own")
    split = Vectorizer(
        analyzer=vectorizer.analyzer,
        ngram_range=(int(vectorizer.ngram_range[0]), int(vectorizer.ngram_range[1])),
        lowercase=vectorizer.lowercase,
        strip_accents=vectorizer.strip_accents,
        token_pattern=vectorizer.token_pattern,
        stop_words=tuple(sorted(vectorizer.get_stop_words() or ())),
    )
    vocabulary = {gram: int(place) for gram, place in vectorizer.vocabulary_.items()}
    function = _function(vectorizer._tfidf) if isinstance(vectorizer, TfidfVectorizer) else {"norm": None}  # noqa: SLF001
    return Block(split, vocabulary, np.zeros((len(vocabulary), 1)), binary=vectorizer.binary, **function)


def _function(transformer: TfidfTransformer) -> dict[str, Any]:
    idf = np.asarray(transformer.idf_, np.float64) if transformer.use_idf else None
    return {"idf": idf, "norm": transformer.norm, "sublinear_tf": transformer.sublinear_tf}


@fold_transformer.register
def _tfidf(transformer: TfidfTransformer, columns: Columns) -> list[Column]:
    first = columns[0]
    if not isinstance(first, GramColumn):
        raise CannotFoldError("a TfidfTransformer of something else than counts of words")
    grams: list[Column] = [GramColumn(first.words, first.block, place) for place in range(len(columns))]
    require(list(columns) == grams, "a TfidfTransformer of selected or scaled counts")
    blocks = first.words.blocks
    blocks[first.block] = replace(blocks[first.block], **_function(transformer))
    return grams


@fold_transformer.register
def _hashing(_: HashingVectorizer, columns: Columns) -> list[Column]:  # noqa: ARG001 - what a rule takes
    raise CannotFoldError(
        "HashingVectorizer; a TfidfVectorizer with max_features is as small, and its words can be shown"
    )


def take_texts(folded: Folded, columns: Sequence[Words], n_features: int) -> tuple[Folded, dict[int, TextProjection]]:
    """Replace n-grams by columns behind the features, one for each output.

    Args:
        folded: a decomposed estimator.
        columns: the texts, in the order of the fields.
        n_features: number of the other columns.

    Returns:
        The same without n-grams, and position of a text -> its function. A text that the estimator does not use has
        none.

    Raises:
        CannotFoldError: the estimator is not linear in the words.
    """
    n_outputs = len(folded.outputs)
    outputs = [_without_grams(terms) for terms in folded.outputs]
    found: dict[int, TextProjection] = {}
    for words in columns:
        weights = [np.zeros((len(block.vocabulary), n_outputs)) for block in words.blocks]
        for output, terms in enumerate(folded.outputs):
            for base, coefficient in terms.linear.items():
                if isinstance(base, Gram) and base.source == words.source:
                    weights[base.block][base.place, output] = coefficient
        used = [_used(block, weight) for block, weight in zip(words.blocks, weights, strict=True) if weight.any()]
        if used:
            for output, terms in enumerate(outputs):
                terms.linear[Clipped(n_features + output, -np.inf, np.inf)] = 1.0
            n_features += n_outputs
            found[words.source] = TextProjection(used)
    return replace(folded, outputs=tuple(outputs)), found


def _without_grams(terms: Terms) -> Terms:
    if any(isinstance(base, Gram) for bases, _ in terms.quadratics for base in bases):
        raise CannotFoldError("products of words")
    inner = [part for base in terms.linear if isinstance(base, Probability) for part in base.log_odds]
    if any(isinstance(base, Gram) for part in inner for base in part.linear):
        raise CannotFoldError("probabilities of words inside another estimator")
    linear: dict[Base, float] = {
        base: coefficient for base, coefficient in terms.linear.items() if not isinstance(base, Gram)
    }
    return replace(terms, linear=linear)


def _used(block: Block, weights: Any) -> Block:
    """The block with its weights; n-grams without any are left out where the others' values do not depend on them."""
    if block.norm:
        return replace(block, weights=weights)
    kept = np.flatnonzero(weights.any(axis=1)).tolist()
    place_of = {place: new for new, place in enumerate(kept)}
    vocabulary = {gram: place_of[place] for gram, place in block.vocabulary.items() if place in place_of}
    idf = None if block.idf is None else block.idf[kept]
    return replace(block, vocabulary=vocabulary, weights=weights[kept], idf=idf)
