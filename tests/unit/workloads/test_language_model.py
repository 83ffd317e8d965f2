import pytest
import torch

from headrace import train
from headrace.workloads.language.model import (
    Decoder,
    DecoderConfig,
    generate,
    next_token_loss,
    rotate,
    rotation_table,
)

CONFIG = DecoderConfig(vocab=11, width=32, layers=2, heads=2, window=8)


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(CONFIG)


def test_the_future_does_not_change_the_past() -> None:
    model = decoder()
    tokens = torch.randint(11, (2, 8))
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 11
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert not torch.allclose(after[:, 5:], before[:, 5:])


def test_embedding_and_head_are_one_tensor() -> None:
    model = decoder()
    assert model.head.weight is model.embedding.weight
    assert len(list(model.parameters())) == 2 + 6 * CONFIG.layers


def test_rotation_makes_attention_depend_on_distance_only() -> None:
    rotation = rotation_table(CONFIG)
    query, key = torch.randn(2, 16)
    turned_query = rotate(query.expand(1, 1, 8, 16), rotation)[0, 0]
    turned_key = rotate(key.expand(1, 1, 8, 16), rotation)[0, 0]
    near = torch.stack([turned_query[n + 2] @ turned_key[n] for n in range(6)])
    torch.testing.assert_close(near, near[0].expand(6), rtol=1e-4, atol=1e-5)


def test_an_untrained_model_knows_nothing() -> None:
    samples = torch.randint(11, (4, 9))
    total, count = next_token_loss(decoder(), train.Micro(samples))
    assert count == 32
    assert float(total.detach()) / count == pytest.approx(torch.tensor(11.0).log().item(), rel=0.1)


def test_a_few_steps_learn_a_repeating_text() -> None:
    model = decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    micro = train.Micro(torch.arange(36).reshape(4, 9) % 3)
    for _ in range(40):
        total, count = next_token_loss(model, micro)
        (total / count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    likeliest = generate(
        model, [0], tokens=5, temperature=0.0, top_k=1, generator=torch.Generator()
    )
    assert list(likeliest) == [1, 2, 0, 1, 2]


def test_sampling_is_a_function_of_the_seed_and_goes_beyond_the_window() -> None:
    def sample(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        model = decoder()
        return list(generate(model, [1], tokens=20, temperature=1.0, top_k=11, generator=generator))

    assert len(sample(1)) == 20
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_dropout_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(vocab=11, width=32, layers=1, heads=2, window=8, dropout=0.5))
    tokens = torch.randint(11, (1, 8))
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
