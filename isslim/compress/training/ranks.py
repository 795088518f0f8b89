"""Several processes that train as one (`torchrun`): batches are divided, gradients averaged.

Rank 0 decides.

N processes with B / N streams each are one process with B streams: rank r takes the columns r B / N
... of the streams, so the average of the ranks' gradients is the gradient of the whole batch.
Gradients are reduced by hand, in one flat buffer: `DistributedDataParallel` would have to be torn
down and built anew whenever the network shrinks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import default_pg_timeout

from isslim.compress.training.state import State


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def columns(self, batch: int) -> slice:
        """The streams of this process.

        Raises:
            ValueError: when the batch cannot be divided.
        """
        if batch % self.world:
            raise ValueError(
                f"a batch of {batch} cannot be divided over {self.world} processes; take a multiple"
            )
        own = batch // self.world
        return slice(self.rank * own, (self.rank + 1) * own)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes, in place."""
        if self.world == 1:
            return
        each = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in each])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(
            each, flat.split_with_sizes([tensor.numel() for tensor in each]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))

    def agreed(self, *values: float) -> list[float]:
        """Rank 0's values, everywhere: clocks differ, and so may validations in their last bits."""
        if self.world == 1:
            return list(values)
        description = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(description, 0)
        return [float(value) for value in description]

    def same_start(self, tensors: Iterable[Tensor]) -> None:
        """Rank 0's tensors, everywhere."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gathered(self, state: State | None) -> State | None:
        """The state of the whole batch, from every process's columns."""
        if self.world == 1 or state is None:
            return state
        parts: list[State] = [[] for _ in range(self.world)]
        dist.all_gather_object(parts, [tuple(each.cpu() for each in layer) for layer in state])
        return [
            tuple(torch.cat(each, dim=1) for each in zip(*layers, strict=True))
            for layers in zip(*parts, strict=True)
        ]

    def generators(self, own: Tensor) -> list[Tensor]:
        """The random generator of every process."""
        if self.world == 1:
            return [own]
        states: list[Tensor] = [own] * self.world
        dist.all_gather_object(states, own)
        return states


def ranks() -> Ranks:
    """This process's place in the group that it joined, if it did."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextmanager
def joined(wait: timedelta = default_pg_timeout) -> Iterator[Ranks]:
    """Joins the processes that `torchrun` started; alone without it.

    Args:
        wait: how long one of them may wait for another that lives.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    # Weights may be on GPUs; what the processes agree on is not.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=wait)
    try:
        yield ranks()
        # All leave together. A thread of gloo lets go of what it worked on a moment after the work
        # is done, and ends the process when Python is gone by then; this last work holds nothing of
        # Python's.
        dist.barrier()
    finally:
        dist.destroy_process_group()
