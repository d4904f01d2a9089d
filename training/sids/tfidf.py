"""Fitting the TF-IDF + SVD embedder on a catalogue."""

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from sid.tfidf import TfidfEmbedder, terms_of
from training.data.errors import DataError

MAX_TERMS = 20_000  # the most frequent ones; 40,000 gave the same SIDs on Home Depot titles


def fit_tfidf(texts: Sequence[str], dim: int, seed: int) -> TfidfEmbedder:
    """Learn vocabulary, idf and components.

    Args:
        texts: of all items.
        dim: size of the embeddings; fewer where the catalogue has fewer terms or items.
        seed: of the randomised SVD.

    Raises:
        DataError: if no text has a letter or a digit.
    """
    vectorizer = tfidf_vectorizer()
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise DataError("no item has a word in its title or attributes; check the items' text") from error
    with np.errstate(invalid="ignore"):  # it divides by the variance, which equal texts do not have
        svd = TruncatedSVD(min(dim, *weights.shape), random_state=seed).fit(weights)
    return TfidfEmbedder(
        terms=tuple(vectorizer.get_feature_names_out().tolist()),
        idf=vectorizer.idf_.astype(np.float32),
        components=np.ascontiguousarray(svd.components_.T, dtype=np.float32),
    )


def tfidf_vectorizer() -> TfidfVectorizer:
    """Make the scikit-learn transformer whose arithmetic :class:`sid.tfidf.TfidfEmbedder` repeats."""
    return TfidfVectorizer(analyzer=terms_of, max_features=MAX_TERMS, sublinear_tf=True, dtype=np.float32)
