"""Epochs in Redis: posting by SID and payload by item row, in hashes that expire.

``{ns}:{epoch}:postings:{leaf >> 16}`` maps a SID, written ``12-5-200``, to its item rows (int32, little
endian); ``{ns}:{epoch}:items:{row >> 16}`` maps an item row to its payload (JSON);
``{ns}:{epoch}:complete`` is written last. A small catalogue is one hash each, so a read is one command; a
large one spreads over the nodes of a cluster.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from service.catalogue import ItemPayload
from service.epoch import Epoch

CHUNK_BITS = 16
WRITE_ROWS = 2_000  # rows per pipeline; bounds what is encoded and sent in one go
ROW_TYPE = np.dtype("<i4")

Rows = NDArray[np.int32]


class IncompleteEpochError(Exception):
    """Redis answers but has lost a part of the epoch: it was restarted empty, or it evicts."""


class RedisEpochs:
    """Reads and writes the epochs of one namespace; every method may raise redis' own errors.

    Attributes:
        ttl_s: how long an epoch stays after it was last written or kept.
    """

    def __init__(self, reader: Redis, writer: Redis, namespace: str, ttl_s: int) -> None:
        """Keep two clients: searches read with a short timeout, bulk writes have time."""
        self.ttl_s = ttl_s
        self._reader = reader
        self._writer = writer
        self._namespace = namespace

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.aclose(close_connection_pool=True)
        await self._writer.aclose(close_connection_pool=True)

    async def is_complete(self, epoch: Epoch) -> bool:
        """Whether the whole epoch was written and no part has gone since."""
        sizes = self._sizes(epoch)
        async with self._writer.pipeline(transaction=False) as pipeline:
            pipeline.exists(self._key(epoch, "complete"))
            for key in sizes:
                pipeline.hlen(key)
            is_marked, *found = await pipeline.execute()
        return bool(is_marked) and found == list(sizes.values())

    async def write(self, epoch: Epoch) -> None:
        """Write an epoch; writing it twice at once does no harm, for it never changes."""
        for start in range(0, epoch.table.n_leaves, WRITE_ROWS):
            leaves = range(start, min(start + WRITE_ROWS, epoch.table.n_leaves))
            await self._store(epoch, "postings", await asyncio.to_thread(_encode_postings, epoch, leaves))
        for start in range(0, len(epoch.catalogue), WRITE_ROWS):
            rows = range(start, min(start + WRITE_ROWS, len(epoch.catalogue)))
            await self._store(epoch, "items", await asyncio.to_thread(_encode_items, epoch, rows))
        await self._writer.set(self._key(epoch, "complete"), b"1", ex=self.ttl_s)

    def keys(self, epoch: Epoch) -> list[str]:
        """All keys of an epoch."""
        return [*self._sizes(epoch), self._key(epoch, "complete")]

    async def expire(self, keys: Iterable[str], after_s: int) -> None:
        """Let the keys of epochs expire some time from now, sooner or later than they would."""
        async with self._writer.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.expire(key, after_s)
            await pipeline.execute()

    async def postings(self, epoch: Epoch, leaves: Rows, sids: NDArray[np.int32]) -> list[Rows]:
        """Item rows of each SID, in one round trip.

        Args:
            epoch: that was written.
            leaves: int32 [n].
            sids: int32 [n, L], of the same leaves.

        Raises:
            IncompleteEpochError: if one is not there.
        """
        fields = ["-".join(map(str, sid)) for sid in sids.tolist()]
        values = await self._load(epoch, "postings", leaves.tolist(), fields)
        return [np.frombuffer(value, ROW_TYPE) for value in values]

    async def items(self, epoch: Epoch, rows: Rows) -> list[ItemPayload]:
        """Payload of each item row, in one round trip.

        Raises:
            IncompleteEpochError: if one is not there.
        """
        values = await self._load(epoch, "items", rows.tolist(), [str(row) for row in rows.tolist()])
        return [orjson.loads(value) for value in values]

    async def _load(self, epoch: Epoch, kind: str, indices: list[int], fields: list[str]) -> list[bytes]:
        positions: defaultdict[int, list[int]] = defaultdict(list)
        for position, index in enumerate(indices):
            positions[index >> CHUNK_BITS].append(position)
        values: list[bytes | None] = [None] * len(indices)
        async with self._reader.pipeline(transaction=False) as pipeline:
            for chunk, members in positions.items():
                pipeline.hmget(self._key(epoch, kind, chunk), [fields[position] for position in members])
            for members, found in zip(positions.values(), await pipeline.execute(), strict=True):
                for position, value in zip(members, found, strict=True):
                    values[position] = value
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            raise IncompleteEpochError(f"Redis has lost {kind} of epoch {epoch.id}")
        return present

    async def _store(self, epoch: Epoch, kind: str, values: Mapping[int, tuple[str, bytes]]) -> None:
        chunks: defaultdict[int, dict[FieldT, EncodableT]] = defaultdict(dict)
        for index, (field, value) in values.items():
            chunks[index >> CHUNK_BITS][field] = value
        async with self._writer.pipeline(transaction=False) as pipeline:
            for chunk, fields in chunks.items():
                pipeline.hset(self._key(epoch, kind, chunk), mapping=fields)
                pipeline.expire(self._key(epoch, kind, chunk), self.ttl_s)
            await pipeline.execute()

    def _key(self, epoch: Epoch, *parts: str | int) -> str:
        return ":".join([self._namespace, epoch.id, *map(str, parts)])

    def _sizes(self, epoch: Epoch) -> dict[str, int]:
        """How many fields each hash of an epoch has, by key."""
        sizes = {}
        for kind, size in (("postings", epoch.table.n_leaves), ("items", len(epoch.catalogue))):
            for start in range(0, size, 1 << CHUNK_BITS):
                sizes[self._key(epoch, kind, start >> CHUNK_BITS)] = min(1 << CHUNK_BITS, size - start)
        return sizes


def _encode_postings(epoch: Epoch, leaves: range) -> dict[int, tuple[str, bytes]]:
    """SID and item rows by leaf."""
    sids = epoch.table.codes[leaves.start : leaves.stop].tolist()
    return {
        leaf: ("-".join(map(str, sid)), epoch.table.posting(leaf).astype(ROW_TYPE).tobytes())
        for leaf, sid in zip(leaves, sids, strict=True)
    }


def _encode_items(epoch: Epoch, rows: range) -> dict[int, tuple[str, bytes]]:
    """Payload by item row."""
    payloads = epoch.catalogue.items(np.arange(rows.start, rows.stop))
    return {
        row: (str(row), orjson.dumps(payload, default=str))
        for row, payload in zip(rows, payloads, strict=True)
    }
