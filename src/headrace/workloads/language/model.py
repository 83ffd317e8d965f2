"""A decoder as language models are built today, small enough to read in one sitting.

Pre-norm residual blocks; root-mean-square norms (Zhang and Sennrich, 2019); rotary positions (Su et
al., 2021); gated feed-forward with SiLU (Shazeer, "GLU Variants Improve Transformer", 2020); input
and output embeddings tied (Press and Wolf, 2017). Plain torch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headrace.train import Micro

INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """``width``: numbers per token, a multiple of ``2 * heads``. ``window``: most tokens seen."""

    vocab: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    window: int = 256
    dropout: float = 0.0
    rotary_base: float = 10_000.0

    @property
    def hidden(self) -> int:
        """Of the feed-forward: 8/3 of the width, so that gating costs no extra parameters."""
        return 32 * math.ceil(self.width * 8 / 3 / 32)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.into = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """``x``: [batch, time, width]."""
        batch, time, width = x.shape
        split = self.into(x).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            rotate(query, rotation),
            rotate(key, rotation),
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return joined


class FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.into = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = torch.chunk(self.into(x), 2, dim=-1)
        gated: Tensor = self.out(F.silu(gate) * value)
        return gated


class Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation))
        added: Tensor = self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x + added


class Decoder(nn.Module):
    """Tokens [batch, time] to logits [batch, time, vocab]; time is at most the window."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab, bias=False)
        self.head.weight = self.embedding.weight
        cosine, sine = rotation_table(config)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.cosine: Tensor
        self.sine: Tensor
        self._initialise()

    def _initialise(self) -> None:
        """Small normal weights; those that add to the residual stream smaller with depth."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                depth = math.sqrt(2 * self.config.layers) if name.endswith("out.weight") else 1.0
                nn.init.normal_(parameter, std=INIT_STD / depth)

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        rotation = (self.cosine[:time], self.sine[:time])
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, rotation)
        logits: Tensor = self.head(self.norm(x))
        return logits


def rotation_table(config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of each position and pair of numbers: [window, head / 2]."""
    head = config.width // config.heads
    frequency = config.rotary_base ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
    angle = torch.arange(config.window, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of numbers by their position's angle. ``x``: [batch, heads, time, head]."""
    cosine, sine = rotation
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)
    return turned.type_as(x)


def next_token_loss(model: nn.Module, micro: Micro) -> tuple[Tensor, int]:
    """Sum of the cross entropies in nats, and how many tokens it is over."""
    inputs, targets = micro.samples[:, :-1], micro.samples[:, 1:]
    logits = model(inputs)
    total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
    return total, targets.numel()


@torch.no_grad()
def generate(
    model: Decoder,
    prompt: list[int],
    *,
    tokens: int,
    temperature: float,
    top_k: int,
    generator: torch.Generator,
) -> Iterator[int]:
    """Sample ``tokens`` tokens one by one. ``temperature`` 0 takes the likeliest each time."""
    device = model.embedding.weight.device
    seen = list(prompt)
    for _ in range(tokens):
        context = torch.tensor([seen[-model.config.window :]], device=device)
        logits = model(context)[0, -1].float().cpu()
        if temperature == 0.0:
            token = int(logits.argmax())
        else:
            best, where = logits.topk(min(top_k, len(logits)))
            chance = torch.softmax(best / temperature, dim=0)
            token = int(where[torch.multinomial(chance, 1, generator=generator)])
        seen.append(token)
        yield token
