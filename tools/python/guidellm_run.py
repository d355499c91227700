"""Runs guidellm without torch.

guidellm reads its data with torch's DataLoader, and uses nothing else of torch:
one process, one row at a time. That much is here. What sends requests and
measures them is guidellm's own code, as it is.
"""
import sys
import types
from typing import Generic, TypeVar

import datasets  # noqa: F401  before there is a torch, which it would want more of
import transformers  # noqa: F401

T = TypeVar("T")


class IterableDataset(Generic[T]):
    pass


class DataLoader(Generic[T]):
    def __init__(self, dataset, batch_size=1, collate_fn=None, **kwargs):
        self.dataset, self.collate_fn = dataset, collate_fn

    def __iter__(self):
        return (self.collate_fn([row]) for row in self.dataset)


class Generator:
    def manual_seed(self, seed):
        pass


def module(name, **content):
    m = types.ModuleType(name)
    m.__dict__.update(content)
    m.__path__ = []
    sys.modules[name] = m
    return m


data = module("torch.utils.data", get_worker_info=lambda: None, IterableDataset=IterableDataset, DataLoader=DataLoader)
module("torch.utils.data.dataloader", DataLoader=DataLoader)
module("torch.utils.data.dataset", IterableDataset=IterableDataset)
module("torch", Generator=Generator, utils=module("torch.utils", data=data))

from guidellm.__main__ import cli  # noqa: E402

if __name__ == "__main__":
    cli()
