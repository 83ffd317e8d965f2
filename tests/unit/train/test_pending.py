import torch

from headrace.train.pending import is_ready, logged, read


def test_numbers_and_host_tensors_are_read_at_once() -> None:
    for value in (1.5, torch.tensor(1.5), torch.tensor([1.5], requires_grad=True)):
        kept = logged(value)
        assert isinstance(kept, float)
        assert is_ready(kept)
        assert read(kept) == 1.5
