"""What a model learns from: token data sets, their order, and batches of them.

::

    data.pack_text(files, Path("corpus.tokens"), window=256)
    train = data.open("corpus.tokens", split=(0.0, 0.9))
    for batch in data.batches(train, global_batch=64, seed=7, rank=rank, world=world): ...

Order is a pure function, the same at any world size (``order``); bytes are verified before they
become tokens (``packed``). Tensors are made by the trainer: nothing here imports torch.
"""

from headrace.data.batch import Batch, Batches, batches, cover, resume
from headrace.data.dataset import Piece, TokenDataset
from headrace.data.entropy import unigram_entropy
from headrace.data.formats import open
from headrace.data.order import Cursor, batch_positions, rank_slice, sample_at, samples_at
from headrace.data.pack import PackSummary, pack_text
from headrace.data.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer

__all__ = [
    "Batch",
    "Batches",
    "ByteTokenizer",
    "Cursor",
    "PackSummary",
    "Piece",
    "TokenDataset",
    "Tokenizer",
    "batch_positions",
    "batches",
    "cover",
    "load_tokenizer",
    "open",
    "pack_text",
    "rank_slice",
    "resume",
    "sample_at",
    "samples_at",
    "unigram_entropy",
]
