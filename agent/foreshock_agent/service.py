"""One agent process, composed from its settings; `kill -9` is a normal way to stop it."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from foreshock_agent.asks import Ask
from foreshock_agent.clock import SystemClock, boot_id
from foreshock_agent.damage.mender import Mender
from foreshock_agent.health import Health, Vitals
from foreshock_agent.items import SessionBegan, SwapModel, UseSettings
from foreshock_agent.judging.scoring import Scorer, model_policy
from foreshock_agent.mqtt.direct import DirectLink
from foreshock_agent.mqtt.followed import Followed
from foreshock_agent.mqtt.link import PahoLink, Session, Will
from foreshock_agent.pipeline import Outside, Pipeline
from foreshock_agent.reloader import Reloader
from foreshock_agent.sources import Sources
from foreshock_agent.store.accounts import lost
from foreshock_agent.store.keeper import Keeper, open_store
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trial import Limits
from foreshock_agent.update.trust import Trust
from foreshock_agent.update.updater import Updater
from foreshock_agent.uplink.budget import DayBudget
from foreshock_agent.uplink.outbox import Outbox
from foreshock_agent.uplink.uplink import Uplink
from foreshock_agent.workers import worker
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Status
from foreshock_wire.model import Model
from foreshock_wire.topics import Down

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_agent.asks import Asks
    from foreshock_agent.mqtt.link import Delivery, Link
    from foreshock_agent.notify import Supervisor
    from foreshock_agent.settings import Settings
    from foreshock_agent.store.stand_in import Carried, Place
    from foreshock_agent.update.proving import Watch

log = logging.getLogger(__name__)

CHANGE_TIMEOUT_S: Final = 30.0
CHANGE_POLL_S: Final = 0.2


class ChangeTimeoutError(ForeshockError):
    """The pipeline did not come to a new model or to new settings in time."""


class Service:
    """All parts of one gateway's agent, wired; `run` returns when it is asked to stop.

    Its settings come from `place`, also when it is asked to read them again; `carried` is what a
    service before it in this process could not store.
    """

    def __init__(self, place: Place, version: str, carried: Carried) -> None:
        self._settings = settings = place.settings
        self._version = version
        self._clock = SystemClock(boot_id(os.environ.get("CREDENTIALS_DIRECTORY")))
        now_ns = self._clock.now_ns
        self._reloader = Reloader(settings, load=place.load, use=self._use, now_ns=now_ns)
        self._store = open_store(settings, now_ns())
        try:
            carried.into(self._store)
            self._compose(settings, place.instead_of)
        except BaseException:
            self._store.close()
            raise

    def _compose(self, settings: Settings, instead_of: Path | None) -> None:
        self._lost = lost(self._store.accounts.snapshot())
        self._models = ModelStore(settings.models)
        self._scorer = Scorer(settings, self._current_model())
        self._sources = Sources(settings.sources, settings.max_message_bytes)
        self._health = Health(settings.health, self._vitals())
        self._local = self._local_link()
        self._keeper = Keeper(self._store, settings, self._clock, instead_of=instead_of)
        self._followed = Followed(settings.followed)
        self._pipeline = Pipeline(
            settings=settings,
            store=self._store,
            keeper=self._keeper,
            sources=self._sources,
            scorer=self._scorer,
            clock=self._clock,
            outside=Outside(self._local.ack, self._local.publish_all, self._committed),
        )
        self._mender = Mender(settings.database, self._pipeline.post, self._store.beacon.sync)
        self._budget = DayBudget(
            settings.uplink.bytes_per_day, settings.uplink_spent, self._clock.now_ns
        )
        self._cloud: Link | None = None
        self._uplink: Uplink | None = None
        self._updater: Updater | None = None
        if settings.cloud is not None:
            self._join_cloud()

    def run(self, asks: Asks, supervisor: Supervisor) -> None:
        """Work until asked to stop; an error in a worker ends the process (crash-only)."""
        failures: list[BaseException] = []
        with ExitStack() as stack:
            self._start(stack, asks, failures)
            supervisor.ready()
            while (ask := asks.next(supervisor.feed_every_s)) is not Ask.STOP:
                if ask is Ask.RELOAD:
                    supervisor.reloading()
                    self._reloader.reload()
                    supervisor.ready()
                supervisor.report(self._stuck(), self._reloader.note)
            if not failures:
                supervisor.stopping()
        if failures:
            raise failures[0]

    def _start(self, stack: ExitStack, asks: Asks, failures: list[BaseException]) -> None:
        """Start all parts; they stop in reverse order.

        The pipeline ends after everything that waits for it (an update's swap, the uplink's acks),
        and before the local connection, over which its last commit acknowledges and publishes.
        """
        stack.callback(self._store.close)
        stack.enter_context(self._models.exclusive())
        self._reloader.begin()
        self._health.start()
        stack.callback(self._health.stop)
        self._local.follow(self._followed.filters)  # so that what is gone is taken back
        self._follow()
        self._local.start()
        stack.callback(self._local.stop)
        stack.callback(self._say_goodbye)
        stack.enter_context(worker("pipeline", self._pipeline.run, asks, failures))
        stack.enter_context(worker("mender", self._mender.run, asks, failures))
        if self._cloud is None or self._uplink is None or self._updater is None:
            return
        self._cloud.start()
        stack.callback(self._cloud.stop)
        stack.enter_context(worker("uplink", self._uplink.run, asks, failures))
        self._updater.start()
        stack.callback(self._updater.stop)

    # The local side ------------------------------------------------------------------------

    def _local_link(self) -> Link:
        at, local = self._settings.at, self._settings.local
        session = Session(
            f"foreshock-{at.site}-{at.gateway}",
            filters=self._filters(),
            on_messages=self._take_in,
            on_connect=self._local_connected,
            durable=True,
            will=Will(topics.status(at), self._status(online=False)),
        )
        if local.client == "paho":
            return PahoLink(local, session)
        return DirectLink(local, session, max_payload=self._settings.max_message_bytes)

    def _follow(self) -> None:
        self._followed.add(self._filters())
        self._local.follow(self._filters())

    def _filters(self) -> list[str]:
        return [*self._sources.topic_filters, topics.any_alarm_command(self._settings.at)]

    def _take_in(self, deliveries: Sequence[Delivery]) -> bool:
        return self._pipeline.offer(deliveries)

    def _local_connected(self, session_present: bool) -> None:  # noqa: FBT001 - a callback's shape
        self._pipeline.post(SessionBegan(session_present))
        self._say_status(online=True)

    def _say_status(self, *, online: bool) -> None:
        payload = self._status(online=online)
        self._local.publish(topics.status(self._settings.at), payload, retain=True)

    def _say_goodbye(self) -> None:
        at = self._settings.at
        self._local.say_last(topics.status(at), self._status(online=False))

    def _status(self, *, online: bool) -> bytes:
        at, model = self._settings.at, self._scorer.model
        return Status(
            site=at.site,
            gateway=at.gateway,
            online=online,
            epoch=self._store.epoch,
            version=self._version,
            model=model.sha256 if model else None,
            health_port=self._health.port if online else None,
            lost=self._lost,
        ).to_bytes()

    # The cloud side ------------------------------------------------------------------------

    def _join_cloud(self) -> None:
        settings, at = self._settings, self._settings.at
        assert settings.cloud is not None  # noqa: S101 - the caller looked
        filters = [
            *(topics.down(at, what) for what in (Down.ACK, Down.DESIRED)),
            *(topics.halt(), topics.any_block(at), topics.any_file(at)),
        ]
        cloud = self._cloud = PahoLink(
            settings.cloud,
            Session(
                f"foreshock-{at.site}-{at.gateway}-up",
                filters=filters,
                on_messages=self._from_cloud,
                on_connect=self._cloud_connected,
            ),
        )
        self._uplink = Uplink(
            at,
            settings.uplink,
            outbox=lambda: Outbox(settings.database),
            publish=cloud.publish,
            post=self._pipeline.post,
            clock=self._clock,
            budget=self._budget,
        )
        self._updater = Updater(
            at,
            self._models,
            Trust(settings.metadata, settings.root_of_trust),
            channels=settings.channels,
            publish=self._publish_cloud,
            swap=self._swap,
            now_ns=self._clock.now_ns,
            version=self._version,
            session=self._store.epoch,
            accounts=self._store.accounts.snapshot,
            drift=self._scorer.drift,
            watch=self._watch,
            policy=lambda model: model_policy(self._settings.alarms, model),
            history=settings.database,
            limits=Limits(
                window_ms=settings.update.max_window_ms,
                rss_bytes=settings.update.max_rss_mib << 20,
            ),
            max_model_bytes=settings.update.max_model_bytes,
        )

    def _from_cloud(self, deliveries: Sequence[Delivery]) -> bool:
        for delivery in deliveries:
            self._from_centre(delivery)
        return True

    def _from_centre(self, delivery: Delivery) -> None:
        at = self._settings.at
        assert self._uplink is not None  # noqa: S101 - made with the link
        assert self._updater is not None  # noqa: S101 - made with the link
        if delivery.topic == topics.down(at, Down.ACK):
            self._uplink.on_ack(delivery.payload)
        elif delivery.topic == topics.down(at, Down.DESIRED):
            self._updater.on_desired(delivery.payload)
        elif delivery.topic == topics.halt():
            self._updater.on_halt(delivery.payload)
        elif topics.is_file(delivery.topic):
            self._updater.on_file(delivery.topic, delivery.payload)
        else:
            self._updater.on_block(delivery.topic, delivery.payload)

    def _cloud_connected(self, _session_present: bool) -> None:  # noqa: FBT001 - a callback's shape
        if self._uplink is not None and self._updater is not None:
            self._uplink.reconnected()
            self._updater.report()

    def _publish_cloud(self, topic: str, payload: bytes) -> None:
        """Send if connected; the updater asks and says again what matters."""
        if self._cloud is not None:
            self._cloud.publish(topic, payload)

    def _committed(self) -> None:
        if (now := lost(self._store.accounts.snapshot())) != self._lost:
            self._lost = now
            self._say_status(online=True)
        if self._uplink is not None:
            self._uplink.wake()

    # The model -----------------------------------------------------------------------------

    def _current_model(self) -> Model | None:
        """Return the committed model; one that does not load leaves the limits in charge."""
        path = self._models.current()
        if path is None:
            return None
        try:
            return Model.load(path)
        except (ForeshockError, OSError) as error:
            log.error("the committed model cannot run, limits stand in: %s", error)  # noqa: TRY400
            return None

    def _watch(self, watch: Watch | None) -> None:
        self._pipeline.watch = watch

    def _swap(self, model: Model) -> None:
        """Hand a model to the pipeline and wait until it runs.

        Raises:
            ChangeTimeoutError: the pipeline is busy for too long.
        """
        self._hand_over(SwapModel(model), f"the model {model.sha256[:12]}")
        self._say_status(online=True)

    def _use(self, settings: Settings) -> None:
        """Go on with other settings; topics are left when nothing of theirs is read any more.

        Raises:
            ChangeTimeoutError: the pipeline is busy for too long.
        """
        sources = Sources(settings.sources, settings.max_message_bytes, self._sources.tracks)
        self._hand_over(UseSettings(settings, sources), "the settings")
        self._settings, self._sources = settings, sources
        self._follow()
        if self._uplink is not None:
            self._uplink.use(settings.uplink)

    def _hand_over(self, request: SwapModel | UseSettings, what: str) -> None:
        self._pipeline.post(request)
        deadline_s = self._clock.monotonic_s() + CHANGE_TIMEOUT_S
        while not request.done.wait(CHANGE_POLL_S):
            late = self._pipeline.ended or self._clock.monotonic_s() > deadline_s
            if late and (request.claim() or self._pipeline.ended):
                raise ChangeTimeoutError(f"the pipeline did not take {what}: it is busy")

    # Health --------------------------------------------------------------------------------

    def _vitals(self) -> Vitals:
        return Vitals(
            accounts=self._store.accounts.snapshot, gauges=self._gauges, problem=self._problem
        )

    def _gauges(self) -> dict[str, float]:
        return {
            "queue_length": self._pipeline.waiting,
            "machines": self._pipeline.machines,
            "model_faults": self._scorer.faults,
            "callback_errors": self._local.errors + (self._cloud.errors if self._cloud else 0),
            "local_connected": float(self._local.connected),
            "cloud_connected": float(self._cloud.connected) if self._cloud else 0.0,
            "has_model": float(self._scorer.model is not None),
            **self._budget.gauges(),
            **self._keeper.gauges(),
            **self._reloader.gauges(),
        }

    def _problem(self) -> str:
        if stuck := self._stuck():
            return stuck
        if not self._local.connected:
            return f"the local broker does not answer: {self._settings.local.address}"
        return self._keeper.problem

    def _stuck(self) -> str:
        """Name the stages that have something to do and do not move; a silent plant is no fault.

        What only the outside can mend, such as a broker that is away, does not count: a restart
        would not bring it back.
        """
        limit_s, now_s = self._settings.health.stalled_s, self._clock.monotonic_s()
        moved = {"the pipeline": self._pipeline.moved_s}
        if self._uplink is not None and self._updater is not None:
            moved |= {"the uplink": self._uplink.moved_s, "the updater": self._updater.moved_s}
        still = [name for name, moved_s in moved.items() if now_s - moved_s > limit_s]
        return f"no move for {limit_s:g} s: {', '.join(still)}" if still else ""
