"""Versions 2 to 4 of the protocol brought back to version 1: transactions that arrive in pieces, whole and in commit order.

With `streaming` the server sends blocks of transactions that still run, and says later whether they, or which of their
sub-transactions, were undone. With `two_phase` it sends a prepared transaction before it is known whether it will be
committed. `Untangler` keeps all that back and gives it out as Begin, changes, Commit when the commit arrives.

cdcd asks for neither. A transaction that has not been committed must be kept aside anyway, and the server does that already:
it spills what exceeds `logical_decoding_work_mem`. With `streaming` we would store the same bytes a second time, on this
side, for transactions that may be undone, to save the server a file; with `two_phase` we would have to keep prepared
transactions across restarts, because the server does not send them again. What is not asked for still has to be understood:
captures of all versions are read by this.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from cdcd_postgres import protocol
from cdcd_postgres.protocol import BeginMessage, CommitMessage, not_understood

_XLOG_DATA: Final = ord("w")
_BODY: Final = 25  # bytes before a message in XLogData
_WITH_XID: Final = frozenset(b"IUDTRYM")
_DESCRIPTIONS: Final = frozenset(b"RY")


class _Kept(msgspec.Struct):
    """Frames of one transaction, each with the (sub-)transaction that it belongs to."""

    frames: list[tuple[int, bytes]]

    def undo(self, subxid: int) -> None:
        """Forget the changes of a sub-transaction. What it described stays: the server describes a table only once."""
        self.frames = [(xid, frame) for xid, frame in self.frames if xid != subxid or frame[_BODY] in _DESCRIPTIONS]


class Untangler:
    """Turns the frames of one connection into frames of version 1. Holds every unfinished transaction in memory."""

    def __init__(self) -> None:
        self._streamed: dict[int, _Kept] = {}
        self._prepared: dict[str, _Kept] = {}
        self._block: _Kept | None = None
        self._block_xid = 0
        self._preparing: protocol.Prepared | None = None
        self._handlers: dict[int, Callable[[bytes, bytes], Iterator[bytes]]] = {
            ord("S"): self._start,
            ord("E"): self._stop,
            ord("c"): self._commit,
            ord("A"): self._abort,
            ord("b"): self._begin_prepare,
            ord("P"): self._prepare,
            ord("p"): self._stream_prepare,
            ord("K"): self._commit_prepared,
            ord("r"): self._rollback_prepared,
        }

    def feed(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """The frames of version 1 that follow. Raises DecodeError for what is not understood."""
        for frame in frames:
            try:
                yield from self._take(frame)
            except (struct.error, ValueError, IndexError) as error:
                raise not_understood(type(error).__name__) from None

    def _take(self, frame: bytes) -> Iterator[bytes]:
        if not frame or frame[0] != _XLOG_DATA or len(frame) <= _BODY:
            yield frame
            return
        kind = frame[_BODY]
        if handle := self._handlers.get(kind):
            yield from handle(frame[:_BODY], frame[_BODY + 1 :])
        elif self._block is None:
            yield frame
        elif self._preparing is not None:
            self._block.frames.append((self._preparing.xid, frame))
        elif kind in _WITH_XID:
            (xid,) = struct.unpack_from(">I", frame, _BODY + 1)
            self._block.frames.append((xid, frame[: _BODY + 1] + frame[_BODY + 5 :]))
        elif kind == ord("O"):
            self._block.frames.append((self._block_xid, frame))
        else:
            raise not_understood(f"message of kind {kind} in a streamed block")

    # ---- streaming ---------------------------------------------------------------------------------------------------

    def _start(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        xid, first = protocol.parse_stream_start(body)
        if self._block is not None or first == (xid in self._streamed):
            raise not_understood("a streamed block that does not follow the one before")
        self._block = self._streamed.setdefault(xid, _Kept([]))
        self._block_xid = xid
        yield from ()

    def _stop(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        if self._block is None or self._preparing is not None or body:
            raise not_understood("the end of a streamed block outside of one")
        self._block = None
        yield from ()

    def _commit(self, head: bytes, body: bytes) -> Iterator[bytes]:
        xid, commit = protocol.parse_stream_commit(body)
        yield from _whole(head, xid, commit, self._finish_streamed(xid))

    def _abort(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        xid, subxid = protocol.parse_stream_abort(body)
        if self._block is not None or xid not in self._streamed:
            raise not_understood("a streamed transaction is undone that never began")
        if xid == subxid:
            del self._streamed[xid]
        else:
            self._streamed[xid].undo(subxid)
        yield from ()

    def _stream_prepare(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        prepared = protocol.parse_prepared(body)
        self._keep_prepared(prepared.gid, self._finish_streamed(prepared.xid))
        yield from ()

    def _finish_streamed(self, xid: int) -> _Kept:
        if self._block is not None or xid not in self._streamed:
            raise not_understood("a streamed transaction ends that never began")
        return self._streamed.pop(xid)

    # ---- two phases --------------------------------------------------------------------------------------------------

    def _begin_prepare(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        if self._block is not None:
            raise not_understood("a prepared transaction inside another")
        self._preparing = protocol.parse_begin_prepare(body)
        self._block = _Kept([])
        yield from ()

    def _prepare(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        prepared = protocol.parse_prepared(body)
        block, begun, self._block, self._preparing = self._block, self._preparing, None, None
        if block is None or begun is None or begun.gid != prepared.gid:
            raise not_understood("a prepared transaction ends that never began")
        self._keep_prepared(prepared.gid, block)
        yield from ()

    def _commit_prepared(self, head: bytes, body: bytes) -> Iterator[bytes]:
        prepared = protocol.parse_prepared(body)
        commit = CommitMessage(prepared.lsn, prepared.end_lsn, prepared.at_us)
        yield from _whole(head, prepared.xid, commit, self._finish_prepared(prepared.gid))

    def _rollback_prepared(self, _head: bytes, body: bytes) -> Iterator[bytes]:
        _, gid = protocol.parse_rollback_prepared(body)
        self._finish_prepared(gid)
        yield from ()

    def _keep_prepared(self, gid: str, kept: _Kept) -> None:
        if gid in self._prepared:
            raise not_understood("two prepared transactions of one name")
        self._prepared[gid] = kept

    def _finish_prepared(self, gid: str) -> _Kept:
        if self._block is not None or gid not in self._prepared:
            raise not_understood("a prepared transaction ends that never began")
        return self._prepared.pop(gid)


def _whole(head: bytes, xid: int, commit: CommitMessage, kept: _Kept) -> Iterator[bytes]:
    """A finished transaction as version 1 sends it."""
    yield head + protocol.begin_body(BeginMessage(commit.commit_lsn, commit.committed_at_us, xid))
    yield from (frame for _, frame in kept.frames)
    yield head + protocol.commit_body(commit)
