"""One replica among others: makes the changes of admins, and follows those that other replicas made."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from functools import partial

from service.announcements import Announcements, RedisAwayError, UnreadableStateError
from service.builder import OfferBuilder
from service.desired import DesiredState
from service.live import LiveCatalogue
from service.metrics import Metrics
from service.offer import Offer
from service.problems import ConflictError, ProblemError, UnavailableError
from sid import RadsearchError

LOOK_S = 5.0  # how long a lost announcement stays unnoticed
RETRY_S = 1.0  # while Redis is away
REBUILD_S = 60.0  # until a state is tried again that could not be offered

Transition = Callable[[DesiredState], DesiredState]

logger = logging.getLogger(__name__)


class Replica:
    """Keeps what is offered here at the desired state in Redis.

    Attributes:
        state: that is offered.
        problem: why it is not the newest one; None while it is.
    """

    def __init__(
        self,
        catalogue: LiveCatalogue,
        announcements: Announcements,
        builder: OfferBuilder,
        metrics: Metrics,
    ) -> None:
        self.state = DesiredState()
        self.problem: str | None = None
        self._catalogue = catalogue
        self._announcements = announcements
        self._builder = builder
        self._metrics = metrics
        self._stamp = ""  # of the state, as it lies in Redis
        self._failed_stamp = ""  # of a state that cannot be offered
        self._rebuild_at = 0.0  # by the event loop's clock
        self._changing = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None

    @property
    def configured(self) -> list[str]:
        """Names of the variants in the settings."""
        return list(self._builder.configured)

    async def start(self) -> None:
        """Come to the desired state, if Redis tells it, and follow it from now on."""
        try:
            await self._catch_up()
        except RedisAwayError as error:
            logger.warning("redis is away, what admins changed is not known", extra={"error": str(error)})
        self._follower = asyncio.create_task(self._follow(), context=Context())  # of no request

    async def close(self) -> None:
        """Follow no more."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await self._announcements.close()

    async def change(self, transition: Transition) -> None:
        """Change the state for all replicas; when it returns, this one offers it and the others will soon.

        Args:
            transition: from the newest state to the next. When another change comes first, it begins anew.

        Raises:
            ConflictError: if the change does not go with what is there, or a search that is answered now
                would be refused.
            UnavailableError: if Redis is away.
        """
        await self._change(transition, lambda before, after: after.check_answers(before))

    async def roll_back(self, transition: Transition) -> None:
        """As :meth:`change`, to what was before, even if that answers fewer searches."""
        await self._change(transition, lambda before, after: None)

    async def _change(self, transition: Transition, check: Callable[[Offer, Offer], None]) -> None:
        async with self._changing:
            try:
                while not await self._try(transition, check):
                    logger.info("another change came first")
            except RedisAwayError as error:
                raise UnavailableError(f"Redis is away ({error}), so no change is made; repeat it") from error
            except UnreadableStateError as error:
                raise UnavailableError(str(error)) from error
            except ProblemError:
                raise
            except RadsearchError as error:
                raise ConflictError(str(error)) from error

    async def _try(self, transition: Transition, check: Callable[[Offer, Offer], None]) -> bool:
        """Make a change, unless another replica does so at the same time."""
        stamp, newest = await self._announcements.read()
        if newest.version < self.state.version:
            newest = self.state  # Redis has lost it
        desired = await asyncio.to_thread(_next, newest, transition)
        if desired is newest and stamp == self._stamp:
            return True

        def build(offer: Offer) -> Offer:
            made = self._builder.build(self.state, desired, offer)
            check(offer, made)
            return made

        try:
            await self._catalogue.change(build, agree=partial(self._agree, stamp, desired))
        except _OutrunError:
            return False
        self._settle(desired.stamp, desired)
        return True

    async def _agree(self, stamp: str, desired: DesiredState) -> None:
        if not await self._announcements.replace(stamp, desired):
            raise _OutrunError

    async def _follow(self) -> None:
        while True:
            try:
                await self._announcements.start_afresh()
                async with self._announcements.subscribe() as announced:
                    while True:
                        await self._catch_up()
                        await announced(LOOK_S)
            except RedisAwayError as error:
                logger.debug("redis is away, no change is heard of", extra={"error": str(error)})
                await asyncio.sleep(RETRY_S)

    async def _catch_up(self) -> None:
        """Offer the newest state; where Redis has lost it, write it anew."""
        async with self._changing:
            stamp = await self._announcements.stamp()
            if stamp == self._stamp or (stamp == self._failed_stamp and self._now() < self._rebuild_at):
                return
            try:
                stamp, newest = await self._announcements.read()
                if newest.version < self.state.version:
                    if await self._announcements.replace(stamp, self.state):
                        logger.warning("redis had lost the state, it is written anew")
                        self._settle(self.state.stamp, self.state)
                    return
                await self._catalogue.change(partial(self._builder.build, self.state, newest))
            except RedisAwayError:
                raise
            except Exception as error:  # whatever it is, what was offered before goes on
                self._fail(stamp, error)
            else:
                self._settle(stamp, newest)

    def _settle(self, stamp: str, state: DesiredState) -> None:
        if state.version != self.state.version:
            logger.info("state changed", extra={"version": state.version})
        self.state, self._stamp, self.problem = state, stamp, None
        self._metrics.state_version.set(state.version)
        self._metrics.state_behind.set(0)

    def _fail(self, stamp: str, error: Exception) -> None:
        logger.error("the newest state cannot be offered, the one before is", exc_info=error)
        self._failed_stamp, self._rebuild_at = stamp, self._now() + REBUILD_S
        self.problem = f"{type(error).__name__}: {error}"
        self._metrics.state_behind.set(1)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _next(newest: DesiredState, transition: Transition) -> DesiredState:
    """The next version of a state, written as JSON already; the same object where nothing changes."""
    desired = transition(newest)
    if desired == newest:
        return newest
    desired = replace(desired, version=newest.version + 1)
    _ = desired.stamp
    return desired


class _OutrunError(Exception):
    """Another replica has changed the state in the meantime."""
