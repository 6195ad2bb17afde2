"""The janitor: compare what Redis says with what runs, and repair both ways.

What this is: each line of a plan carried out through the same flows as everything else. What it is not: the reading
(`reactor.survey`) or the judgement (`reactor.plan`). The invariant: each destructive action reads again
first; a run that finds nothing writes nothing.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar, Self

import anyio

from reactor.crew import Crew, open_crew
from reactor.errors import ForeignData, ReactorError, SessionLost, Unavailable
from reactor.members import judge_members, member_view
from reactor.plan import Action, Kind, PlanLine, View, brake, judge_container, plan
from reactor.registry.verdicts import Claimed, Gone
from reactor.retire import as_judged, note_lost, retire, tidy
from reactor.runtime.protocol import Removal
from reactor.session import ContainerId, Detector, SessionId, new_token
from reactor.survey import survey, survey_of
from reactor.teardown import Claim, Ended, carry_out, end_exited, tear_down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from reactor.registry import Mark
    from reactor.runtime.protocol import Container
    from reactor.settings import Settings

__all__ = ["Action", "BrakeEngaged", "Janitor", "Kind", "PlanLine"]

DONE = "done"
GONE_ALREADY = "gone already"
DONE_WORDS = frozenset({DONE, GONE_ALREADY})
"""The outcomes that leave nothing to do."""
HANDS = 16
"""Lines carried out at once: more than the engine removes in parallel."""


class BrakeEngaged(ReactorError):
    """Too much would be removed that Redis did not ask for; none of it was touched."""

    exit_code: ClassVar[int] = 75

    def __init__(self, message: str, held: Sequence[PlanLine] = ()) -> None:
        """Note what is kept; a person may agree to these lines, and to no others."""
        super().__init__(message)
        self.held = tuple(held)


class Janitor:
    """Plans and carries out reconciles of one host. `plan` changes no session; `run` may be called again and again."""

    def __init__(self, crew: Crew | None = None, *, settings: Settings) -> None:
        """Take open connections, or settings to connect with when it is entered."""
        self._crew = crew
        self._settings = settings
        self._stack = AsyncExitStack()
        self._braked = False
        """Whether the last run was braked: the audit stream hears of it once, not once a minute."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return a janitor that connects when it is entered."""
        return cls(settings=settings)

    async def __aenter__(self) -> Self:
        """Connect; raises `Unavailable`, `PermissionRefused`, `ConfigError`."""
        if self._crew is None:
            self._crew = await self._stack.enter_async_context(open_crew(self._settings))
            await self._crew.registry.hear_reactors()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened here."""
        await self._stack.aclose()

    async def plan(self) -> list[PlanLine]:
        """Return what a run would find now; raises `Unavailable` when either side cannot be read whole."""
        return (await self.survey())[0]

    async def survey(self) -> tuple[list[PlanLine], str]:
        """Return the same plan, and why the brake would hold a part of it ('' where it would not)."""
        lines, view = await self._surveyed()
        return lines, brake(lines, view)

    async def _surveyed(self) -> tuple[list[PlanLine], View]:
        crew, pooled = self._opened(), self._settings.pooled
        view = await survey(crew, spawn_limit=self._settings.acquire_timeout, pools=[t.name for t in pooled])
        members = any(c.member is not None for c in view.containers)
        images = {t.name: await crew.runtime.image_id(t.image) for t in pooled if members}
        found = judge_members(view, member_view(view, crew.registry.keys.prefix, pooled, images))
        return [*plan(view), *found], view

    async def run(self, *, force: bool = False, agreed: Sequence[PlanLine] = ()) -> AsyncIterator[tuple[PlanLine, str]]:
        """Carry out a plan made now, line by line, yielding each with its outcome ("done", "gone already", or why not).

        Where it would remove more than max(10, 30 %) of the host's containers that Redis did not ask to remove, it
        leaves all of those, carries out the rest, and then raises `BrakeEngaged`; `force` carries out everything, and
        `agreed` the containers of these lines, whatever else was found since they were planned.
        Lines that need no action are yielded as they are.
        """
        lines, view = await self._surveyed()
        braked = brake(lines, view)
        await tidy(self._opened().ways, view.index, list(view.containers), view.spawn_limit)
        allowed = {line.container_id for line in agreed}
        held = [line for line in lines if line.unasked and line.container_id not in allowed]
        held = held if braked and not force else []
        if held and not self._braked:
            await self._opened().registry.note("brake", braked)
        self._braked = bool(held)
        async for done in self._carried_out([line for line in lines if line not in held]):
            yield done
        if held:
            raise BrakeEngaged(braked, held)

    async def _carried_out(self, lines: list[PlanLine]) -> AsyncIterator[tuple[PlanLine, str]]:
        for start in range(0, len(lines), HANDS):
            part = lines[start : start + HANDS]
            outcomes: dict[int, str] = {}
            async with anyio.create_task_group() as tasks:
                for index, line in enumerate(part):
                    tasks.start_soon(self._note_outcome, outcomes, index, line)
            for index, line in enumerate(part):
                yield line, outcomes[index]

    # ------------------------------------------------------------------ acting

    async def _note_outcome(self, outcomes: dict[int, str], index: int, line: PlanLine) -> None:
        try:
            outcomes[index] = await self._act(line) if line.is_drift else line.action.value
        except (Unavailable, SessionLost, ForeignData) as error:
            outcomes[index] = str(error)

    async def _act(self, line: PlanLine) -> str:  # noqa: PLR0911 (a table, row by row)
        if line.mark is not None:
            return await self._settle_member(line, line.mark)
        assert line.session_id is not None  # noqa: S101 (all other drift is about a session)
        registry = self._opened().registry
        match line.action, line.kind:
            case Action.REPAIR, _:
                await registry.mend(line.session_id)
                await registry.look([line.session_id])
                return DONE
            case Action.END, Kind.LOST | Kind.DEAD:
                return await self._end_dead(line.session_id, line.container_id)
            case Action.END, _:
                verdict = await tear_down(self._opened().ways, line.session_id, detector=Detector.JANITOR)
                if isinstance(verdict, Ended):
                    return DONE
                return GONE_ALREADY if isinstance(verdict, Gone) else f"left alone: {type(verdict).__name__.lower()}"
            case Action.REMOVE, _ if line.container_id is None:
                await registry.drop_stray(line.session_id)
                return DONE
            case _:
                return await self._settle_container(line)

    async def _settle_member(self, line: PlanLine, mark: Mark) -> str:
        ways = self._opened().ways
        # Only after the judgement does its name say that nobody was given it, and that nobody will be.
        settle = note_lost if line.action is Action.ADOPT else retire
        done = await as_judged(ways, mark) and await settle(ways, mark)
        return DONE if done else "left alone: it changed meanwhile"

    async def _end_dead(self, session_id: SessionId, container_id: ContainerId | None) -> str:
        crew = self._opened()
        container = None if container_id is None else await crew.runtime.inspect(container_id)
        if container is not None and container.running:
            return "left alone: it runs"
        verdict = await end_exited(crew.ways, session_id, container_id, detector=Detector.JANITOR)
        return DONE if isinstance(verdict, Ended) else GONE_ALREADY

    async def _settle_container(self, line: PlanLine) -> str:
        """Remove or adopt a container, if a second look says the same as the plan."""
        crew = self._opened()
        container = await crew.runtime.inspect(line.container_id or "")
        if container is None:
            return GONE_ALREADY
        view = await survey_of(crew, container, spawn_limit=self._settings.acquire_timeout)
        again = judge_container(view, container)
        if again is None or (again.action, again.kind) != (line.action, line.kind):
            return "left alone: it changed meanwhile"
        # The judgement took a while; what was not running may have been started and handed out since.
        now = await crew.runtime.inspect(container.container_id)
        if now is None or now.state is not container.state:
            return GONE_ALREADY if now is None else "left alone: it changed meanwhile"
        assert container.labels is not None  # noqa: S101 (it was judged by them)
        if line.action is Action.ADOPT:
            adopted = await crew.registry.register(container, container.labels, instead_of=None)
            return DONE if adopted is not None else "left alone: it changed meanwhile"
        if line.kind is Kind.ORPHAN and container.labels.db == crew.registry.evidence.db:
            return await self._end_orphan(container)
        removed = await crew.runtime.remove(container.container_id, grace=crew.ways.stop_grace)
        if line.kind is Kind.ORPHAN:
            await crew.registry.drop_stray(container.labels.session)
        return DONE if removed is Removal.REMOVED else GONE_ALREADY

    async def _end_orphan(self, container: Container) -> str:
        crew = self._opened()
        assert container.labels is not None  # noqa: S101 (listed by its labels)
        token = new_token()
        verdict = await crew.registry.adopt_orphan(container, container.labels, token, Detector.JANITOR)
        if not isinstance(verdict, Claimed):
            return "left alone: it changed meanwhile"
        await carry_out(crew.ways, container.labels.session, Claim(verdict, token))
        return DONE

    def _opened(self) -> Crew:
        if self._crew is None:
            message = "the janitor is not open: use `async with`"
            raise RuntimeError(message)
        return self._crew
