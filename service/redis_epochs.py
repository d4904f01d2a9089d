"""Epochs in Redis: posting by SID and payload by item row, in hashes that expire.

``{ns}:{epoch}:v2:postings:{leaf >> 16}`` maps a SID, written ``12-5-200``, to its item rows (int32, little
endian); ``{ns}:{epoch}:v2:items:{row >> 16}`` maps an item row to its payload (JSON). Every value ends with a
checksum over epoch, field and value. A small catalogue is one hash each, so a read is one command; a large
one spreads over the nodes of a cluster.
"""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray
from redis.typing import EncodableT, FieldT

from service import redis_clients
from service.catalogue import ItemPayload
from service.epoch import Epoch
from service.redis_clients import CONNECTIONS, RedisClient

LAYOUT = "v2"  # part of every key: releases that write values otherwise share a Redis in peace
CHUNK_BITS = 16
WRITE_ROWS = 2_000  # rows per pipeline; bounds what is encoded and sent in one go
ROW_TYPE = np.dtype("<i4")
CHECKSUM_BYTES = 4

Rows = NDArray[np.int32]


class DamagedEpochError(Exception):
    """Redis answers but has lost or changed a part of the epoch: it was restarted empty, or it evicts."""


class RedisEpochs:
    """Reads and writes the epochs of one namespace; every method may raise redis' own errors.

    Attributes:
        ttl_s: how long an epoch stays after it was last written or kept.
    """

    def __init__(self, reader: RedisClient, writer: RedisClient, namespace: str, ttl_s: int) -> None:
        """Keep two clients: searches read with a short timeout, bulk writes have time."""
        self.ttl_s = ttl_s
        self._reader = reader
        self._writer = writer
        self._namespace = namespace
        self._turns = asyncio.Semaphore(CONNECTIONS)  # no client has a connection for more reads at once

    async def close(self) -> None:
        """Close the connections."""
        await redis_clients.close(self._reader)
        await redis_clients.close(self._writer)

    async def start_afresh(self) -> None:
        """Forget connections and nodes of before an outage."""
        await redis_clients.start_afresh(self._reader)
        await redis_clients.start_afresh(self._writer)

    async def is_whole(self, epoch: Epoch) -> bool:
        """Whether every field of the epoch is there."""
        sizes = self._sizes(epoch)
        async with self._turns, self._reader.pipeline(transaction=False) as pipeline:
            for key in sizes:
                pipeline.hlen(key)
            found = await pipeline.execute(raise_on_error=False)
        for answer in found:
            if isinstance(answer, Exception) and "WRONGTYPE" not in str(answer):
                raise answer
        return bool(found == list(sizes.values()))

    async def check(self, epoch: Epoch) -> None:
        """Find out that a field is missing, if one is.

        Raises:
            DamagedEpochError: if one is.
        """
        if not await self.is_whole(epoch):
            raise DamagedEpochError(f"Redis holds not all of epoch {epoch.id}; it may have no room")

    async def write(self, epoch: Epoch) -> None:
        """Write an epoch over what is there; writing it twice at once does no harm, for it never changes."""
        await self._clear_strangers(epoch)
        for start in range(0, epoch.table.n_leaves, WRITE_ROWS):
            leaves = range(start, min(start + WRITE_ROWS, epoch.table.n_leaves))
            await self._store(epoch, "postings", await asyncio.to_thread(_encode_postings, epoch, leaves))
        for start in range(0, len(epoch.catalogue), WRITE_ROWS):
            rows = range(start, min(start + WRITE_ROWS, len(epoch.catalogue)))
            await self._store(epoch, "items", await asyncio.to_thread(_encode_items, epoch, rows))

    def keys(self, epoch: Epoch) -> list[str]:
        """All keys of an epoch."""
        return list(self._sizes(epoch))

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
            DamagedEpochError: if one is not there, or not as it was written.
        """
        fields = ["-".join(map(str, sid)) for sid in sids.tolist()]
        values = await self._load(epoch, "postings", leaves.tolist(), fields)
        return [np.frombuffer(value, ROW_TYPE) for value in values]

    async def items(self, epoch: Epoch, rows: Rows) -> list[ItemPayload]:
        """Payload of each item row, in one round trip.

        Raises:
            DamagedEpochError: if one is not there, or not as it was written.
        """
        values = await self._load(epoch, "items", rows.tolist(), [str(row) for row in rows.tolist()])
        return [orjson.loads(value) for value in values]

    async def recall(self, name: str) -> bytes | None:
        """A value that was remembered, if it is still there."""
        async with self._turns:
            value = await self._reader.get(f"{self._namespace}:results:{name}")
        return value if isinstance(value, bytes) else None

    async def remember(self, name: str, value: bytes, ttl_s: int) -> None:
        """Keep a value for ``ttl_s`` seconds."""
        async with self._turns:
            await self._reader.set(f"{self._namespace}:results:{name}", value, ex=ttl_s)

    async def _load(self, epoch: Epoch, kind: str, indices: list[int], fields: list[str]) -> list[bytes]:
        positions: defaultdict[int, list[int]] = defaultdict(list)
        for position, index in enumerate(indices):
            positions[index >> CHUNK_BITS].append(position)
        values = [b""] * len(indices)
        async with self._turns, self._reader.pipeline(transaction=False) as pipeline:
            for chunk, members in positions.items():
                pipeline.hmget(self._key(epoch, kind, chunk), [fields[position] for position in members])
            answers = await pipeline.execute()
        for members, found in zip(positions.values(), answers, strict=True):
            for position, value in zip(members, found, strict=True):
                values[position] = value or b""
        seed = _seed(epoch, kind)
        return [_unsealed(seed, field, value) for field, value in zip(fields, values, strict=True)]

    async def _store(self, epoch: Epoch, kind: str, values: Mapping[int, tuple[str, bytes]]) -> None:
        seed = _seed(epoch, kind)
        chunks: defaultdict[int, dict[FieldT, EncodableT]] = defaultdict(dict)
        for index, (field, value) in values.items():
            chunks[index >> CHUNK_BITS][field] = value + _checksum(seed, field, value)
        async with self._writer.pipeline(transaction=False) as pipeline:
            for chunk, fields in chunks.items():
                pipeline.hset(self._key(epoch, kind, chunk), mapping=fields)
                pipeline.expire(self._key(epoch, kind, chunk), self.ttl_s)
            await pipeline.execute()

    async def _clear_strangers(self, epoch: Epoch) -> None:
        """Remove what stands under our keys and is no hash."""
        keys = self.keys(epoch)
        async with self._writer.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.type(key)
            types = await pipeline.execute()
        for key, kind in zip(keys, types, strict=True):
            if kind not in (b"hash", b"none"):
                await self._writer.unlink(key)

    def _key(self, epoch: Epoch, kind: str, chunk: int) -> str:
        return f"{self._namespace}:{epoch.id}:{LAYOUT}:{kind}:{chunk}"

    def _sizes(self, epoch: Epoch) -> dict[str, int]:
        """How many fields each hash of an epoch has, by key."""
        sizes = {}
        for kind, size in (("postings", epoch.table.n_leaves), ("items", len(epoch.catalogue))):
            for start in range(0, size, 1 << CHUNK_BITS):
                sizes[self._key(epoch, kind, start >> CHUNK_BITS)] = min(1 << CHUNK_BITS, size - start)
        return sizes


def _seed(epoch: Epoch, kind: str) -> int:
    """Where checksums of an epoch's postings or items start."""
    return zlib.crc32(f"{epoch.id}:{kind}:".encode())


def _checksum(seed: int, field: str, value: bytes) -> bytes:
    """Tells a value from any other, also from that of another field."""
    return zlib.crc32(value, zlib.crc32(field.encode(), seed)).to_bytes(CHECKSUM_BYTES, "little")


def _unsealed(seed: int, field: str, sealed: bytes) -> bytes:
    """The value without its checksum.

    Raises:
        DamagedEpochError: if it is not as it was written.
    """
    value = sealed[:-CHECKSUM_BYTES]
    if sealed[-CHECKSUM_BYTES:] != _checksum(seed, field, value):
        raise DamagedEpochError(f"Redis has lost or changed field {field} of an epoch")
    return value


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
