"""Small histories told by hand, to show what a checker sees and what it lets pass.

It is not a run: no server, no process, no clock.
It keeps this: a tale begins with one session that nothing is wrong with; a test adds what it is about.
"""

from typing import Any, Self

from faultlab.checks import CHECKS, Violation, tell
from faultlab.entries import (
    Act,
    Audit,
    Begin,
    Belief,
    Call,
    Engine,
    Entry,
    Fault,
    KeyEvent,
    Listing,
    Look,
    Mark,
    Request,
    Setup,
    Touch,
)
from faultlab.history import History

TTL = 3.0


class Tale:
    """Entries, told one after the other; times are seconds."""

    def __init__(self) -> None:
        """Begin with nothing but the setup."""
        self.entries: list[Entry] = [
            Setup(
                seed=1,
                runtime="docker",
                hosts=("h1", "h2"),
                reactors=1,
                deployment="lab",
                prefix="mcp",
                janitor_s=3,
                stop_grace_s=1,
                acquire_timeout_s=8,
                ttl_max_s=6,
                decoys=("decoy",),
                decoy_keys=("foreign",),
                kinds=("fault", "other"),
                wall_s=0,
            )
        ]
        self._n = 0

    def add(self, *entries: Entry) -> Self:
        """Add entries as they are."""
        self.entries.extend(entries)
        return self

    def begin(self, op: str, t: float, *, session: str = "s", client: str = "a") -> Self:
        """A call that never came back."""
        self._n += 1
        return self.add(Begin(client=client, session=session, op=op, n=self._n, t_call=t))

    def acquire(self, t: float, container: str = "c1", generation: int = 1, **more: Any) -> Self:
        """A call of acquire that was answered, or failed with `error`."""
        session, client = more.pop("session", "s"), more.pop("client", "a")
        self.begin("acquire", t, session=session, client=client)
        took, ttl = more.pop("took", 0.1), more.pop("ttl", TTL)
        call = Call(
            client=client,
            session=session,
            op="acquire",
            n=self._n,
            t_call=t,
            t_ret=t + took,
            ttl=ttl,
            container=container,
            generation=generation,
            **more,
        )
        return self.add(call)

    def beat(
        self, *times: float, reply: int | None = 1, error: str = "", session: str = "s", client: str = "a"
    ) -> Self:
        """Heartbeats."""
        for t in times:
            call = Call(
                client=client,
                session=session,
                op="heartbeat",
                n=0,
                t_call=t,
                t_ret=t + 0.01,
                ttl=TTL,
                reply=None if error else reply,
                error=error,
            )
            self.add(call)
        return self

    def answered(self, op: str, t: float, *, reply: int = 1, session: str = "s", client: str = "a") -> Self:
        """A DEL that was answered."""
        call = Call(client=client, session=session, op=op, n=0, t_call=t, t_ret=t + 0.01, reply=reply)
        return self.add(call)

    def engine(self, t: float, action: str, container: str = "c1", generation: int = 1, **more: Any) -> Self:
        """An event of the engine."""
        more = {"host": "h1", "session": "s", "ours": True} | more
        return self.add(Engine(t=t, action=action, container=container, generation=generation, **more))

    def born(self, t: float, container: str = "c1", generation: int = 1, **more: Any) -> Self:
        """A container is created and started."""
        self.engine(t, "create", container, generation, **more)
        return self.engine(t + 0.05, "start", container, generation, **more)

    def removed(self, t: float, container: str = "c1", generation: int = 1, **more: Any) -> Self:
        """A container is stopped and removed."""
        for action in ("kill", "die", "destroy"):
            self.engine(t, action, container, generation, **more)
            t += 0.05
        return self

    def look(self, *times: float, session: str = "s", **belief: Any) -> Self:
        """Looks at Redis that found one session (none at all: `session=""`)."""
        seen = {name: belief.pop(name) for name in ("watched", "strangers") if name in belief}
        held: dict[str, Any] = {"state": "running", "generation": 1, "container": "c1", "host": "h1", **belief}
        for t in times:
            sessions = {session: Belief(**held)} if session else {}
            self.add(Look(t0=t, t1=t + 0.01, run_id="r", db="d", sessions=sessions, **seen))
        return self

    def listed(self, t: float, containers: dict[str, tuple[str, int, str]], host: str = "h1") -> Self:
        """A list of the engine."""
        return self.add(Listing(host=host, t0=t, t1=t + 0.01, containers=containers))

    def fault(self, start: float, heal: float, *flags: str, name: str = "fault", **more: Any) -> Self:
        """A fault that held from its start to its healing."""
        n = 1 + sum(1 for entry in self.entries if isinstance(entry, Fault) and entry.phase == "start")
        fired, evidence = more.get("fired", True), more.get("evidence", "seen")
        for phase, t in (("start", start), ("on", start), ("mend", heal)):
            self.add(Fault(n=n, name=name, phase=phase, t=t, flags=flags))
        return self.add(Fault(n=n, name=name, phase="heal", t=heal, flags=flags, fired=fired, evidence=evidence))

    def act(self, t: float, act: str, container: str = "", session: str = "s") -> Self:
        """Something done by hand."""
        return self.add(Act(t=t, act=act, container=container, session=session))

    def audit(self, t: float, event: str, container: str = "c1", generation: int = 1, **more: Any) -> Self:
        """An entry of the product's event stream."""
        more = {"session": "s"} | more
        return self.add(Audit(t=t, event=event, container=container, generation=generation, **more))

    def request(
        self, t: float, method: str, path: str, *, took: float = 0.1, door: str = "r1", status: int = 204
    ) -> Self:
        """A request on the wire to the engine."""
        return self.add(Request(t=t, door=door, method=method, path=path, status=status, t_end=t + took))

    def touch(self, t: float, key: str, event: str = "hset") -> Self:
        """A keyspace notification about any other key."""
        return self.add(Touch(t=t, key=key, event=event))

    def key(self, t: float, event: str, session: str = "s") -> Self:
        """A keyspace notification."""
        return self.add(KeyEvent(t=t, session=session, event=event))

    def mark(self, t: float, name: str, detail: str = "") -> Self:
        """A point of the run."""
        return self.add(Mark(t=t, name=name, detail=detail))

    def judged(self, check: str) -> list[Violation]:
        """What one checker says."""
        return list(CHECKS[check](tell(History(tuple(self.entries)))))


def simple() -> Tale:
    """One session: made at 0, touched until 4, expired at 7, its container gone at 7.2; looked at every 100 ms."""
    tale = Tale().born(0.0).acquire(0.0, took=0.2).beat(1.0, 2.0, 3.0, 4.0)
    for tenth in range(2, 70):
        t = tenth / 10
        touched = max([touch for touch in (0.2, 1.0, 2.0, 3.0, 4.0) if touch <= t])
        tale.look(t, deadline=touched + TTL)
    tale.look(7.05, 7.1, 7.2, state="ending").removed(7.1)
    return tale.look(7.3, 7.4, 20.0, 60.0, state="ended")
