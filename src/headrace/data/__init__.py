"""What a model learns from: data sets of many formats, their order, and batches of them.

::

    data.index_path("shards")                                         # once: tar, Parquet, MDS ...
    images = data.open("shards")
    data.pack_text(files, "corpus.tokens", window=256)                # or a file of our own
    train = data.open("corpus.tokens", split=(0.0, 0.9))
    for batch in data.batches(train, global_batch=64, seed=7, rank=rank, world=world):
        samples = data.to_torch(batch.samples)                        # or to_jax; NumPy as it is

Order is a pure function, the same at any world size (``order``); bytes are verified before they
become samples (``fill``). Tensors are made by the trainer: nothing here imports torch.
"""

from headrace.data.ask import Besides, Sizes, ask
from headrace.data.batch import PLAIN, Batch, Batches, Reading, batches, cover, resume
from headrace.data.damage import Damage
from headrace.data.dataset import Dataset, Source, TokenDataset, Tokens
from headrace.data.entropy import unigram_entropy
from headrace.data.formats.format import Options
from headrace.data.index import Piece
from headrace.data.indexing import IndexSummary, index_path
from headrace.data.mix import Mix, mix
from headrace.data.opening import open
from headrace.data.order import Blocks, Order, Sequential, Whole
from headrace.data.pack import PackSummary, pack_text
from headrace.data.packs import Packs, in_packs
from headrace.data.plan import Asked, Plan, State, decode_state, planned, total_steps
from headrace.data.recorded import changed, record
from headrace.data.stack import stack, to_jax, to_torch
from headrace.data.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer

__all__ = [
    "PLAIN",
    "Asked",
    "Batch",
    "Batches",
    "Besides",
    "Blocks",
    "ByteTokenizer",
    "Damage",
    "Dataset",
    "IndexSummary",
    "Mix",
    "Options",
    "Order",
    "PackSummary",
    "Packs",
    "Piece",
    "Plan",
    "Reading",
    "Sequential",
    "Sizes",
    "Source",
    "State",
    "TokenDataset",
    "Tokenizer",
    "Tokens",
    "Whole",
    "ask",
    "batches",
    "changed",
    "cover",
    "decode_state",
    "in_packs",
    "index_path",
    "load_tokenizer",
    "mix",
    "open",
    "pack_text",
    "planned",
    "record",
    "resume",
    "stack",
    "to_jax",
    "to_torch",
    "total_steps",
    "unigram_entropy",
]
