"""What a model that knows only how often each token occurs would lose: the floor to be beaten."""

import numpy as np

from headrace.data.dataset import TokenDataset, Tokens
from headrace.data.packs import Packs

_SAMPLES_AT_ONCE = 1024


def unigram_entropy(dataset: TokenDataset) -> float:
    """Shannon entropy of the predicted tokens, in nats per token; 0.0 for an empty data set.

    ``-sum(p * ln p)`` over the frequencies p of tokens 1 to window of each sample; of packs, those
    that follow a token of their own piece.
    """
    counts = np.zeros(0, dtype=np.int64)
    for first in range(0, len(dataset), _SAMPLES_AT_ONCE):
        indices = np.arange(first, min(first + _SAMPLES_AT_ONCE, len(dataset)), dtype=np.int64)
        more = np.bincount(_predicted(dataset, dataset.read(indices)), minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    seen = counts[counts > 0].astype(np.float64)
    if not seen.size:
        return 0.0
    shares = seen / seen.sum()
    return float((shares * np.log(1 / shares)).sum())


def _predicted(dataset: TokenDataset, rows: Tokens) -> Tokens:
    if not isinstance(dataset, Packs):
        return rows[:, 1:].ravel()
    tokens, pieces = rows[:, 0], rows[:, 1]
    predicted: Tokens = tokens[:, 1:][(pieces[:, 1:] == pieces[:, :-1]) & (pieces[:, 1:] > 0)]
    return predicted
