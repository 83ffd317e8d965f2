"""What a model that knows only how often each token occurs would lose: the floor to be beaten."""

import numpy as np

from headrace.data.dataset import TokenDataset

_SAMPLES_AT_ONCE = 1024


def unigram_entropy(dataset: TokenDataset) -> float:
    """Shannon entropy of the predicted tokens, in nats per token; 0.0 for an empty data set.

    ``-sum(p * ln p)`` over the frequencies p of tokens 1 to window of each sample.
    """
    counts = np.zeros(dataset.vocab, dtype=np.int64)
    for first in range(0, len(dataset), _SAMPLES_AT_ONCE):
        indices = np.arange(first, min(first + _SAMPLES_AT_ONCE, len(dataset)), dtype=np.int64)
        targets = dataset.read(indices)[:, 1:]
        counts += np.bincount(targets.ravel(), minlength=dataset.vocab)
    seen = counts[counts > 0].astype(np.float64)
    if not seen.size:
        return 0.0
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum())
