"""A log that checks its records' signatures in other processes while it is read, and says how far it has been read.

Wrapped around a log, it changes nothing of what an audit finds: what a process found good is remembered by the SHA-256 of
key, signature and signed bytes, and an audit that asks about exactly these need not check them once more. Whatever was not
found good is checked by the audit itself.

What this file does not know: which key is in force for a record (`agent.keyring`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from itertools import islice
from multiprocessing import get_context

from agent.log import Log
from agent.record import RecordError, parse, parsed_body
from agent.seal import from_base64url, key_name, pre_authentication, signed
from agent.story import kind_of

Row = tuple[int, bytes]
_CHUNK = 512
_AHEAD = 3  # chunks that are under way for each process


class Ahead:
    """A log, read ahead. Satisfies `agent.verify.Log`.

    Args:
        log: the log itself.
        keys: public keys that are known before its first record is read, such as the confirmed one.
        jobs: how many processes check signatures; 0: none, the audit does it all.
        progress: is told how many records were handed out since it was told last.
    """

    def __init__(self, log: Log, keys: list[bytes], jobs: int, progress: Callable[[int], None] = lambda _: None) -> None:
        self._log = log
        self._keys = {key_name(public): public for public in keys}
        self._jobs = jobs
        self._progress = progress
        self._good: set[bytes] = set()
        self.size, self.checkpoints, self.models, self.timestamps = log.size, log.checkpoints, log.models, log.timestamps
        self.kept = log.kept

    def is_signed(self, data: bytes, signature: str, public: bytes) -> bool:
        """`agent.seal.signed`, remembered where a process has found it good."""
        if self._good and (known := _token(data, signature, public)) in self._good:
            self._good.discard(known)
            return True
        return signed(data, signature, public)

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Records from n = start up to, not including, stop, in order."""
        rows = self._log.payloads(start, stop)
        chunks = iter(lambda: list(islice(rows, _CHUNK)), [])
        pool = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn")) if self._jobs else None
        with pool or nullcontext():
            for chunk in chunks if pool is None else self._checked(chunks, pool):
                yield from chunk
                self._progress(len(chunk))

    def _checked(self, chunks: Iterator[list[Row]], pool: ProcessPoolExecutor) -> Iterator[list[Row]]:
        """The chunks, each when its signatures have been looked at."""
        waiting: deque[tuple[list[Row], Future[list[bytes]]]] = deque()
        for chunk in chunks:
            self._learn(chunk)
            waiting.append((chunk, pool.submit(good_signatures, [payload for _, payload in chunk], self._keys)))
            if len(waiting) > _AHEAD * self._jobs:
                yield self._taken(*waiting.popleft())
        while waiting:
            yield self._taken(*waiting.popleft())

    def _taken(self, chunk: list[Row], found: Future[list[bytes]]) -> list[Row]:
        self._good.update(found.result())
        return chunk

    def _learn(self, chunk: list[Row]) -> None:
        """Takes the keys that records bring; whether one is in force, the audit decides."""
        for _, payload in chunk:
            if kind_of(payload) != b"key":
                continue
            for public in _keys_in(payload):
                self._keys = self._keys | {key_name(public): public}


def _keys_in(payload: bytes) -> list[bytes]:
    try:
        fields = parse(payload)
        found = [from_base64url(fields[name]) for name in ("public", "recovery") if isinstance(fields.get(name), str)]
    except ValueError:
        return []
    return [public for public in found if len(public) == 32]


def good_signatures(payloads: list[bytes], keys: Mapping[str, bytes]) -> list[bytes]:
    """What is remembered of the records whose signature is good by the key that they name."""
    found = []
    for payload in payloads:
        try:
            fields = parse(payload)
        except RecordError:
            continue
        public, signature = keys.get(str(fields.get("key"))), fields.get("sig")
        if public is None or not isinstance(signature, str):
            continue
        data = pre_authentication(parsed_body(fields))
        if signed(data, signature, public):
            found.append(_token(data, signature, public))
    return found


def _token(data: bytes, signature: str, public: bytes) -> bytes:
    head = signature.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%b%d:%b%b" % (public, len(head), head, data)).digest()
