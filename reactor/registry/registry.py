"""The protocol: Redis as typed verbs, each one script, each atomic over record, heartbeat, due index and audit stream.

What this is: reserve, renew, save, abort, register (the way in); examine, extend, delete (the way out). What it is not:
a flow; it never talks to an engine. The invariant: a verb repeated with the same token gives the same
answer, so a lost reply is mended by asking again, which this class does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from reactor.errors import ForeignData, ReactorError
from reactor.registry import verdicts
from reactor.registry.lost import DataLost, Doomed, Superseded, lost
from reactor.registry.pools import Pools
from reactor.registry.records import Record, address_fields, parse_flat
from reactor.registry.scripts import Script
from reactor.registry.upkeep import CLOCK, KNOWN, Arg
from reactor.session import (
    ContainerId,
    DatabaseId,
    Detector,
    EndReason,
    Generation,
    HostName,
    SessionId,
    State,
    Token,
    milliseconds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reactor.registry.scripts import Call
    from reactor.registry.verdicts import Mode, Reservation, Verdict
    from reactor.runtime.protocol import Container, Labels, Member
    from reactor.session import Address

__all__ = ["DataLost", "Doomed", "SessionRegistry", "Superseded"]


class SessionRegistry(Pools):
    """Sessions of one prefix as one host sees them. Safe for many tasks at once.

    The host's index and repairs come with `Upkeep`, its warm containers with `Pools`. Every verb raises `Unavailable`
    when Redis cannot be asked (the effect is then unknown; repeat with the same token), `PermissionRefused`, and
    `ForeignData` for a record that this version does not know.
    """

    # ------------------------------------------------------------------ the way in

    async def reserve(
        self, session_id: SessionId, token: Token, *, template: str, ttl: timedelta, waited: Generation | None = None
    ) -> Reservation:
        """Ask for the session: it lives (and is refreshed), is being worked on, or is ours to spawn under `token`.

        `waited` is the generation that this caller saw being spawned; if that spawn failed, its error is the answer.
        """
        lifetime = self.terms.max_lifetime
        args: tuple[Arg, ...] = (
            session_id, self.host, token, milliseconds(ttl), milliseconds(self.terms.spawn_lease), template,
            0 if lifetime is None else milliseconds(lifetime), "" if waited is None else str(waited), KNOWN,
            self.runtime,
        )  # fmt: skip
        reply = await self._run(Script.RESERVE, (*self._session_keys(session_id), self.keys.hosts), args)
        match reply[0]:
            case "LIVE":
                return verdicts.Live(parse_flat(session_id, reply[4:], int(reply[3])), watched=reply[2] == "1")
            case "WAIT":
                left = timedelta(milliseconds=int(reply[4]))
                return verdicts.Wait(State(reply[1]), HostName(reply[2]), Generation(int(reply[3])), left)
            case "SPAWN":
                if reply[2] != self.evidence.db:
                    # Another process of this host met the change first; perhaps one on another engine.
                    await self._persist(self.evidence.witness)
                return verdicts.Spawn(Generation(int(reply[1])), DatabaseId(reply[2]))
            case _:
                return verdicts.Failed(reply[1])

    async def renew(self, session_id: SessionId, token: Token, db: DatabaseId) -> ContainerId | None:
        """Prove that the spawn is still ours and keep its lease; raises `Superseded` or `DataLost`.

        An answer that is older than the lease, since this process stood still, proves nothing: it is asked again.
        Returns the container that it took from a pool, if it did.
        """
        args = (session_id, self.host, token, milliseconds(self.terms.spawn_lease), db)
        while True:
            asked = anyio.current_time()
            reply = await self._run(Script.RENEW, self._session_keys(session_id), args)
            if reply[0] != "OK":
                raise lost(session_id, reply[1])
            if anyio.current_time() - asked < self.terms.spawn_lease.total_seconds():
                return ContainerId(reply[1]) if reply[1] else None

    async def save(
        self,
        session_id: SessionId,
        token: Token,
        *,
        container_id: ContainerId,
        db: DatabaseId,
        address: Address | None,
        taken: bool = False,
    ) -> Record:
        """Commit the spawn: the record names the container, the heartbeat key appears. Repeating it changes nothing.

        `taken`: the container is from a pool; the record must name it already. Raises `Superseded` (remove what you
        made, by ID) or `DataLost` (remove nothing).
        """
        wake = self.keys.wake(self.host)
        args = (session_id, self.host, token, container_id, db, wake, int(taken), *address_fields(address))
        reply = await self._run(Script.COMMIT, self._session_keys(session_id), args)
        if reply[0] != "OK":
            raise lost(session_id, reply[1])
        return parse_flat(session_id, reply[2:], int(reply[1]))

    async def abort(self, session_id: SessionId, token: Token, error: str) -> None:
        """End a failed spawn whose container is gone; waiters get `error`. An empty error only lets the id go."""
        short = error.encode()[:512].decode(errors="ignore")
        wake = self.keys.wake(self.host)
        args = (session_id, self.host, token, short, wake, milliseconds(self.terms.tombstone))
        await self._run(Script.ABORT, (*self._session_keys(session_id), self.keys.taken(self.host)), args)

    async def register(
        self, container: Container, labels: Labels, *, instead_of: Token | None, member: Member | None = None
    ) -> Record | None:
        """Give a running container from before a data loss its record back; None where it may not have one.

        `instead_of` is the token of the spawn that met it at create; without one no live record may stand. One of a
        pool (`member`) gets generation and token of that spawn, which stand in `labels` then; raises `Doomed`.
        """
        lifetime = self.terms.max_lifetime
        args: tuple[Arg, ...] = (
            labels.session, self.host, labels.token, labels.generation, container.container_id, labels.template,
            milliseconds(labels.ttl), labels.db, instead_of or "", KNOWN, self.runtime,
            0 if lifetime is None else milliseconds(lifetime), self.keys.wake(self.host),
            "" if member is None else member.token, "" if member is None else member.made_us,
            *address_fields(container.address),
        )  # fmt: skip
        pool = self._pool_keys(labels.template)
        keys = (*self._session_keys(labels.session), self.keys.hosts, *pool)
        reply = await self._run(Script.REGISTER, keys, args)
        if reply[0] == "DOOMED":
            raise Doomed
        return parse_flat(labels.session, reply[2:], int(reply[1])) if reply[0] == "OK" else None

    # ------------------------------------------------------------------ the way out

    async def examine(  # noqa: PLR0913 (the last ones say what an end is about)
        self,
        session_id: SessionId,
        mode: Mode,
        token: Token,
        *,
        detector: Detector,
        reason: EndReason = EndReason.TERMINATED,
        expected: ContainerId | None = None,
        generation: Generation | None = None,
        heard: DatabaseId | None = None,
    ) -> Verdict:
        """Give the one verdict on a session; a claim belongs to `token` until its lease ends.

        `reason`, `expected` (the container that it is about) and `generation` count with `Mode.END` only, `heard` (the
        database id under which a deletion was heard) with `Mode.DELETED`.
        """
        args = (*self._examine_args(session_id, mode, token, detector, reason, expected), generation or "", heard or "")
        return _verdict(await self._run(Script.EXAMINE, self._session_keys(session_id), args))

    async def look(
        self, session_ids: Sequence[SessionId], claim: Mapping[SessionId, Token] | None = None
    ) -> dict[SessionId, Verdict | ReactorError]:
        """Look at many sessions in one round trip, and move their due scores; one that cannot be read is its error.

        Those that `claim` has a token for are claimed with it where they are over, as by `examine`.
        """
        tokens = claim or {}

        async def ask() -> list[Any]:
            calls: list[Call] = []
            for i in session_ids:
                mode = verdicts.Mode.CLAIM if i in tokens else verdicts.Mode.LOOK
                args = (*self._examine_args(i, mode, tokens.get(i, Token(""))), "", "")
                calls.append((self._session_keys(i), self._filled(args)))
            replies = await self.link.run_many(Script.EXAMINE, calls)
            if any(reply == ["UNSURE"] for reply in replies):
                await self._doubted()
            return replies

        replies = await self._persist(ask)
        pairs = zip(session_ids, replies, strict=True)
        return {i: reply if isinstance(reply, ReactorError) else _verdict(reply) for i, reply in pairs}

    async def extend(self, session_id: SessionId, token: Token, lease: timedelta | None = None) -> None:
        """Keep a claim for another `lease` (None: the usual one); raises `SessionLost` if it is not ours any more."""
        args = (session_id, self.host, token, milliseconds(lease or self.terms.claim_lease))
        if await self._run(Script.EXTEND, self._session_keys(session_id), args) != "OK":
            raise lost(session_id, "1")

    async def delete(self, session_id: SessionId, token: Token) -> None:
        """Finish a teardown: the record becomes a tombstone. Repeating it is fine; raises `SessionLost`."""
        args = (session_id, self.host, token, milliseconds(self.terms.tombstone), self.keys.wake(self.host))
        keys = (*self._session_keys(session_id), self.keys.taken(self.host))
        if await self._run(Script.FINISH, keys, args) != "ENDED":
            raise lost(session_id, "1")

    async def adopt_orphan(self, container: Container, labels: Labels, token: Token, detector: Detector) -> Verdict:
        """Claim a container that has no record, in this very database; `Other` where that is not so (any more)."""
        args = (
            labels.session, self.host, token, milliseconds(self.terms.claim_lease), KNOWN, labels.generation,
            container.container_id, labels.template, milliseconds(labels.ttl), labels.db, labels.token, detector.value,
            self.runtime, int(container.running),
        )  # fmt: skip
        keys = (*self._session_keys(labels.session), self.keys.hosts)
        return _verdict(await self._run(Script.ADOPT_ORPHAN, keys, args))

    async def request_end(self, session_id: SessionId, host: HostName, generation: Generation) -> bool:
        """Ask another host's reactors to end this generation; False where it is not there (on that host) any more."""
        keys = (self.keys.record(session_id), self.keys.due(host))
        return await self._run(Script.REQUEST_END, keys, (session_id, host, generation)) == "OK"

    def _examine_args(
        self,
        session_id: SessionId,
        mode: Mode,
        token: Token,
        detector: Detector = Detector.DEADLINE,
        reason: EndReason = EndReason.EXPIRED,
        expected: ContainerId | None = None,
    ) -> tuple[Arg, ...]:
        grace = 0 if self.terms.grace is None else milliseconds(self.terms.grace)
        return (
            session_id, self.host, mode.value, token, milliseconds(self.terms.claim_lease), KNOWN, grace,
            reason.value, expected or "", detector.value, CLOCK,
        )  # fmt: skip


def _verdict(reply: list[str]) -> Verdict:  # noqa: PLR0911 (one word, one answer)
    match reply[0]:
        case "GONE":
            return verdicts.Gone()
        case "FOREIGN":
            return verdicts.Foreign(HostName(reply[1]))
        case "LIVE":
            return verdicts.Alive(timedelta(milliseconds=int(reply[1])), repaired=reply[2] == "1")
        case "BUSY":
            return verdicts.Busy(timedelta(milliseconds=int(reply[1])))
        case "GRACE":
            return verdicts.Grace(timedelta(milliseconds=int(reply[1])))
        case "CLAIMABLE":
            return verdicts.Claimable()
        case "OTHER" | "REFUSED":
            return verdicts.Other()
        case "CLAIMED":
            container = ContainerId(reply[1]) if reply[1] else None
            committed = reply[5:] != ["0"]
            generation, db = Generation(int(reply[2])), DatabaseId(reply[3])
            return verdicts.Claimed(container, generation, db, EndReason(reply[4]), committed=committed)
        case word:
            message = f"script answered {word!r}"
            raise ForeignData(message)
