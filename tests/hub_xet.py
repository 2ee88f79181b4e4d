"""The store behind the Hub's default way of uploads, Xet, as its public specification has it (hub-docs, docs/xet).

A client cuts files into chunks, uploads them packed ("xorbs"), then says which chunks make up which file ("shard").
Not imitated: compression (the clients need `HF_XET_DATA_XORB_COMPRESSION_POLICY=none`), deduplication against what is
there, version 2 of the API (the clients fall back to 1), verification hashes, ranges that begin in the middle.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.hub_repos import Blobs, HubError


_HEADER, _ENTRY = 48, 48
_WITH_VERIFICATION, _WITH_METADATA = 1 << 31, 1 << 30


def hash_name(raw: bytes) -> str:
    """A hash as the API spells it: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


@dataclass
class Term:
    """A run of chunks of a xorb."""

    xorb: str
    length: int
    start: int
    end: int


@dataclass
class XetStore:
    """What has arrived.

    Attributes:
        xorbs: Serialised chunks by hash.
        files: What files are made of, by their Xet hash.
        names: Xet hashes by SHA-256.
    """

    xorbs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, list[Term]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def offsets(self, xorb: str) -> list[int]:
        """Where each chunk begins, and the last one ends; a footer may follow."""
        content, found = self.xorbs[xorb], [0]
        while found[-1] + 8 <= len(content) and content[found[-1]] == 0:  # the version of a chunk's header
            size = int.from_bytes(content[found[-1] + 1 : found[-1] + 4], "little")
            if content[found[-1] + 4] != 0:
                raise HubError(400, "This store knows no compression")
            found.append(found[-1] + 8 + size)
        return found

    def add_shard(self, shard: bytes, blobs: Blobs) -> None:
        """Take in a shard: put its files together, for those who know no Xet."""
        place = _HEADER
        while shard[place : place + 32] != b"\xff" * 32:
            name, flags, count = struct.unpack_from("<32sII", shard, place)
            terms = []
            for number in range(1, count + 1):
                xorb, _, length, start, end = struct.unpack_from("<32sIIII", shard, place + number * _ENTRY)
                terms.append(Term(hash_name(xorb), length, start, end))
            place += _ENTRY * (1 + count * (2 if flags & _WITH_VERIFICATION else 1) + bool(flags & _WITH_METADATA))
            content = b"".join(self._chunks(term) for term in terms)
            oid = hashlib.sha256(content).hexdigest()
            blobs[oid] = content
            self.files[hash_name(name)], self.names[oid] = terms, hash_name(name)

    def reconstruction(self, name: str, url: str, wanted: str) -> dict[str, Any]:
        """How to put a file together.

        Args:
            name: Its Xet hash.
            url: Where the xorbs are.
            wanted: The request's `Range`, which may begin at 0 or behind the end.
        """
        if name not in self.files:
            raise HubError(404, "No such file")
        terms = self.files[name]
        if wanted and int(wanted.removeprefix("bytes=").split("-")[0]) >= sum(term.length for term in terms):
            raise HubError(416, "Behind the end")
        fetch: dict[str, list[Any]] = {}
        for term in terms:
            offsets = self.offsets(term.xorb)
            span = {"start": offsets[term.start], "end": offsets[term.end] - 1}
            chunks = {"start": term.start, "end": term.end}
            fetch.setdefault(term.xorb, []).append(
                {"range": chunks, "url": f"{url}/xorb/{term.xorb}", "url_range": span}
            )
        told = [
            {"hash": t.xorb, "unpacked_length": t.length, "range": {"start": t.start, "end": t.end}} for t in terms
        ]
        return {"offset_into_first_range": 0, "terms": told, "fetch_info": fetch}

    def _chunks(self, term: Term) -> bytes:
        if term.xorb not in self.xorbs:
            raise HubError(400, "A xorb has not arrived")
        content = self.xorbs[term.xorb]
        return b"".join(
            content[start + 8 : stop] for start, stop in pairwise(self.offsets(term.xorb)[term.start : term.end + 1])
        )
