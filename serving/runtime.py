"""Settings in, everything that the service works with out; what changes outside is watched and swapped in whole."""

import gc
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from features.clock import Clock
from features.errors import OmniError, StoreError, UnavailableError
from features.events.placeholders import Placeholders
from features.events.rules import NOBODY
from features.identity.identifiers import PLAIN, Identifiers
from features.identity.resolution import load_identity_config
from features.log.event_log import EventLog
from features.log.receipt import Receipt
from features.meter import release_memory
from features.money.home import HomeCurrency
from features.online.checkpoint import Checkpoint
from features.online.follower import NOBODY_FOLLOWS, is_followed
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.online.trust import StoreTrust, open_known_log
from features.settings import MAX_TIMEOUT_MS, Settings
from features.vocabulary import CORE_TASKS, Task
from serving.access.gate import Gate
from serving.access.request_log import RequestLog
from serving.answers import Answers, Knowledge
from serving.decision.rules import Rules
from serving.decision.send_time import population_hours
from serving.erasure import Eraser, ErasureWorker, oldest_s
from serving.experiments.in_force import NO_EXPERIMENTS, Experiments
from serving.experiments.opening import open_experiments
from serving.fallback.census import Census
from serving.guard.reliance import WRITE_WAIT_S, Reliance
from serving.house_rules import HouseRules
from serving.metrics import Metrics
from serving.offers.house_offers import HouseOffers
from serving.offers.offered import NOTHING_OFFERED
from serving.offers.standing import StandingKeeper
from serving.products.catalogue import Catalogue, load_catalogue
from serving.products.changed_files import stamp_of, wait_for_change
from serving.products.product_range import product_range
from serving.sales import Sales
from serving.schemas import RulesInfo
from serving.scorers.bundle import LOADING, Bundle
from serving.scorers.registry import mlflow_fall_back, mlflow_fetch, next_bundle
from serving.scorers.vetting import Vetting
from serving.timing.profiling import PROFILE_DIR
from serving.timing.stages import UNTIMED, StageTimer
from serving.warm_up import rehearse

logger = logging.getLogger(__name__)

REFRESH_S: Final = 5.0
"""How often the registry and the files are looked at."""
OPENING_S: Final = 0.5
"""How often it is looked for an online store that is not open yet: a stream that starts opens it within a second or two."""
REHEARSING: Final = (
    "The service makes what is made at first use; after an installation or an update that takes up to a minute."
)
"""Why nobody is answered between the opening of the store and the first answer."""
UNFOLLOWED_S: Final = 10.0
"""How long no stream may follow the log before that is told."""


@dataclass
class Runtime:
    """What one worker holds. `close` is called once, when the app stops."""

    log: EventLog
    clock: Clock
    rules: Rules = field(default_factory=Rules)
    """What answers follow where there is no `house`."""
    knowledge: Knowledge = field(default_factory=Knowledge)
    metrics: Metrics = field(default_factory=Metrics)
    eraser: Eraser | None = None
    nobody: Placeholders = NOBODY
    """Values that name nobody, by identity.toml."""
    currency: HomeCurrency | None = None
    """What events' values are brought to; None: they are taken as they are."""
    gate: Gate = field(default_factory=Gate, repr=False)
    """Lets in who may ask."""
    request_log: RequestLog | None = None
    """Where a line goes for each request; None: nowhere."""
    bookkeeping_key: str = field(default="", repr=False)
    """Who sends it may bring decisions and any outcome over HTTP; empty: nobody may."""
    tasks: Sequence[Task] = CORE_TASKS
    """The models that it must have to be ready."""
    house: HouseRules | None = None
    """The rules in force in this home, which may change from one question to the next."""
    settings: Settings | None = field(default=None, repr=False)
    """Where products and stock are kept; None: nowhere."""
    offers: HouseOffers | None = None
    """The offers in force and the suppression list; None: there are none."""
    experiments: Experiments = NO_EXPERIMENTS
    """The experiments in force in this home, which begin and end while it runs."""
    asks_servers: bool = False
    """Whether the log or the online store is a server, so that an answer may have to wait for one."""
    store_problem: Callable[[], str] = str
    """Why answers do without the online store at present, and come from the log alone; empty where they do not."""
    unfollowed: str = ""
    """What to do where no stream brings the log's news into the online store; empty where one does."""
    reliance: Reliance | None = None
    """What it does without where it does not answer; None: then nobody is answered without it."""
    timeout_s: float = 0.2
    """How long one answer waits for the log, where that is a server."""
    deadline_s: float = MAX_TIMEOUT_MS / 1000
    """How long a question waits for its answer that does not say so itself."""
    identifiers: Identifiers = PLAIN
    """The form in which the log keeps identifiers."""
    looked: threading.Event = field(default_factory=threading.Event)
    """Set once everything that is watched was looked at for the first time, whatever was found; everybody may be counted
    after that where models answer."""
    close: Callable[[], None] = lambda: None
    draining: Callable[[], bool] = lambda: False

    @property
    def answers(self) -> Answers:
        """What answers questions with the knowledge of the moment."""
        return self.answers_timed(UNTIMED)

    def answers_timed(self, timer: StageTimer) -> Answers:
        """The same; the timer is told of each stage of an answer."""
        log = self.log if self.reliance is None else self.reliance.log
        unheard_s = None if self.reliance is None else self.reliance.log.breaker.unheard_s
        told = self.rules_now(), lambda: self.knowledge, self.nobody, unheard_s, timer, self.identifiers
        offered = NOTHING_OFFERED if self.offers is None else self.offers.offered
        return Answers(log, self.clock, *told, lambda: offered.in_force, offered.suppressed, self.experiments)

    def rules_now(self) -> Rules:
        """The rules that a question which is asked now is answered by."""
        return self.rules if self.house is None else self.house.current().rules

    def rules_info(self) -> RulesInfo:
        """Which rules those are, and what is wrong with the file that should replace them."""
        if self.house is None:
            return RulesInfo(version=self.rules.version)
        known = self.house.current()
        return RulesInfo(version=known.version, since=known.since, problem=known.problem or None)

    def warnings(self) -> list[str]:
        """What its operator should know though every answer is right; empty as a rule."""
        store = self.store_problem() if self.knowledge.states is not None else ""
        offers = None if self.offers is None else self.offers.problem
        told = (store, self.rules_info().problem, offers, self.unfollowed, *self.experiments.problems(self.rules_now()))
        return [problem for problem in told if problem] + self.metrics.refusals.warnings()

    def forget(self) -> None:
        """Have nothing of any customer in memory that was read before now."""
        if self.knowledge.states is not None:
            self.knowledge.states.forget()

    def not_ready(self) -> list[str]:
        """Why the service cannot answer yet, or not with what it will have in a moment; empty when it can."""
        if self.draining():
            return ["The service is stopping."]
        known = self.knowledge
        reasons = [] if known.states is not None else [known.store_problem or "The online store is not open yet."]
        loading = any(known.bundle.problems.get(task) == LOADING for task in self.tasks if not known.bundle.card(task))
        return [*reasons, LOADING] if loading else reasons

    def fallbacks(self) -> dict[Task, str]:
        """Of `tasks` those that are answered without a model, each with the reason and the cure."""
        bundle = self.knowledge.bundle
        return {task: bundle.problem(task) for task in self.tasks if bundle.card(task) is None}


def _note_every_look(runtime: Runtime, pending: Sequence[Receipt]) -> None:
    """Metrics that no request sets: of a worker whose page nobody asks, too."""
    runtime.metrics.note_erasures(len(pending), oldest_s(pending, runtime.clock.now()))
    runtime.metrics.refusals.settle()


def open_runtime(settings: Settings) -> Runtime:
    """Open the log and start watching for models, products and the online store in the background.

    Nothing that is missing stops it but the log that there was: the service lives and says what it waits for. Raises
    StoreError where that log is lost.
    """
    log, clock = open_known_log(settings, WRITE_WAIT_S), Clock.from_settings(settings)
    house = HouseRules(settings)
    runtime = Runtime(
        log=log,
        clock=clock,
        experiments=open_experiments(settings, log),
        rules=house.current().rules,
        house=house,
        settings=settings,
        offers=HouseOffers(settings, log),
        knowledge=Knowledge(Bundle(problems=dict.fromkeys(Task, LOADING))),
        eraser=Eraser(settings, log),
        nobody=load_identity_config(settings.files_home).nobody,
        identifiers=log.identity().identifiers,
        currency=HomeCurrency(settings, log),
        gate=Gate.from_env(settings, os.environ),
        request_log=RequestLog() if settings.log_format == "json" else None,
        bookkeeping_key=settings.bookkeeping_key,
        tasks=settings.tasks,
        reliance=Reliance.on(settings, clock, log),
        timeout_s=settings.timeout_ms / 1000,
        deadline_s=settings.deadline_ms / 1000,
        asks_servers=settings.online_store == "redis" or not settings.event_log_url.startswith("sqlite:"),
    )
    drain_file = os.environ.get("OMNI_DRAIN_FILE")
    if drain_file:
        runtime.draining = partial(
            os.path.exists, drain_file
        )  # asked with every request: a third of the time of Path's
    profile_dir = os.environ.get(PROFILE_DIR)
    profile = runtime.metrics.profile_into(Path(profile_dir)) if profile_dir else None
    assert runtime.offers is not None
    watcher = Watcher(settings, runtime)
    watcher.start()
    stops = house.watch(), runtime.offers.watch(), runtime.experiments.watch()
    erasures = ErasureWorker(
        Eraser(settings, log),
        note=lambda pending: _note_every_look(runtime, pending),
        forget=runtime.forget,
    )
    erasures.start()

    def close() -> None:
        if profile is not None:
            logger.info("Where the time went: %s", profile.stop())
        for stop in stops:
            stop()
        erasures.stop()
        watcher.stop()
        if runtime.reliance is not None:
            runtime.reliance.close()
        runtime.log.close()

    runtime.close = close
    return runtime


class Watcher:
    """A thread that keeps `runtime.knowledge` up to date."""

    def __init__(self, settings: Settings, runtime: Runtime, refresh_s: float = REFRESH_S) -> None:
        self._settings = settings
        self._runtime = runtime
        self._refresh_s = refresh_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="omni-watcher", daemon=True)
        self._seen: dict[Path, tuple[int, int]] = {}
        self._told = ""
        self._unfollowed_since = math.inf
        self._vetting = Vetting(settings.home)
        self._fetch = mlflow_fetch(settings, self._vetting)
        self._fall_back = mlflow_fall_back(settings, self._vetting)
        self._checkpoint = Checkpoint(settings)
        reliance = runtime.reliance
        problem = StoreTrust(settings, runtime.log).problem if reliance is None else reliance.problem
        self._sales = Sales(settings, runtime.clock, problem=problem)
        self._census = Census(settings, runtime.log, runtime.clock)
        self._standing = StandingKeeper(settings, runtime.log, runtime.clock)
        runtime.store_problem = problem

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; a load that is under way is waited for."""
        self._stop.set()
        self._thread.join(timeout=30)

    def refresh(self) -> None:
        """Look at everything once and swap in what is new."""
        before = self._runtime.knowledge
        try:
            after = self._with_store(self._with_files(before))
        except StoreError as error:
            if str(error) != self._told:
                logger.error("%s", error)
            self._told = str(error)
            after = before if before.states is not None else replace(before, store_problem=str(error))
        else:
            self._told = ""
        if after is not before:
            self._publish(after)
        bundle = self._champions(after.bundle)
        now = self._sales.up_to_date(replace(after, bundle=bundle))
        product, before_it = now.bundle.product, after.bundle.product
        if bundle is not after.bundle or (product and before_it and product.product_ids is not before_it.product_ids):
            self._publish(now)
        elif now.bundle is not bundle:
            self._runtime.knowledge = now  # other numbers of the same products: nothing to do for the first time
        self._runtime.metrics.note_models(bundle.infos())
        self._runtime.metrics.note_rules(self._runtime.rules_info())
        self._runtime.metrics.note_quarantine(entry.task for entry in self._vetting.quarantine.entries())
        if self._runtime.reliance is not None:
            for name, breaker in self._runtime.reliance.breakers().items():
                self._runtime.metrics.note_dependency(name, not breaker.is_open)
        done_seq = self._checkpoint.read()
        self._look_for_stream(done_seq)
        if done_seq:  # 0 where the stream runs on another machine, or never ran
            log = self._runtime.log
            level = not self._runtime.store_problem()
            self._runtime.metrics.note_stream(max(0, log.last_seq() - done_seq) if level else log.count())
        self._count_everybody(now.catalogue)
        if self._runtime.offers is not None:
            self._runtime.offers.stand(self._standing, self._runtime.knowledge.states, now.bundle)
        self._prepare_lists()

    def _count_everybody(self, catalogue: Catalogue) -> None:
        """Bring what answers without models up to date; where models answer, nobody waits for the first count."""
        if self._runtime.knowledge.states is not None and not self._runtime.fallbacks():
            self._runtime.looked.set()
        counted = self._census.up_to_date(self._runtime.knowledge.counted, catalogue)
        if counted is not self._runtime.knowledge.counted:
            self._runtime.knowledge = replace(self._runtime.knowledge, counted=counted)

    def _prepare_lists(self) -> None:
        """Look up what lists of products need, before anybody asks for one."""
        known = self._runtime.knowledge
        if known.states is not None and self._runtime.looked.is_set():
            product_range(known.fallback.popularity.product_ids, known.bundle.product, known.catalogue).prepare()

    def _look_for_stream(self, done_seq: int) -> None:
        """Say so where no stream has followed this home for a while; one that starts, or starts again, takes a moment."""
        elsewhere = self._settings.online_store == "redis" and not done_seq
        if elsewhere or is_followed(self._settings):
            self._unfollowed_since, self._runtime.unfollowed = math.inf, ""
            return
        self._unfollowed_since = min(self._unfollowed_since, time.monotonic())
        if time.monotonic() - self._unfollowed_since >= UNFOLLOWED_S and not self._runtime.unfollowed:
            self._runtime.unfollowed = NOBODY_FOLLOWS
            logger.warning("%s", NOBODY_FOLLOWS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh()
            except OmniError as error:
                logger.warning("%s", error)
            except Exception:  # the watcher must outlive a bad moment of the disk or the registry
                logger.exception("Looking for what is new failed; it is tried again in %g s", self._refresh_s)
            self._runtime.looked.set()
            is_open = self._runtime.knowledge.states is not None
            wait_s = self._refresh_s if is_open else min(self._refresh_s, OPENING_S)
            wait_for_change(self._stop, wait_s, (self._settings.products_path, self._settings.stock_path), self._seen)

    def _publish(self, known: Knowledge) -> None:
        """Have everybody answered from `known`, once nothing in it is done for the first time any more."""
        if known.states is not None:  # before that, nobody is answered
            if self._runtime.knowledge.states is None:
                self._runtime.knowledge = replace(self._runtime.knowledge, store_problem=REHEARSING)
            rehearse(known, self._runtime.clock, self._runtime.rules_now())
        if self._runtime.not_ready():  # so that nobody waits meanwhile
            release_memory()
            gc.freeze()  # what stays until the end need not be looked through again and again: each time takes 0.1 s
        self._runtime.knowledge = known

    def _champions(self, current: Bundle) -> Bundle:
        return next_bundle(current, self._fetch, self._fall_back)

    def _with_files(self, known: Knowledge) -> Knowledge:
        """Raises StoreError for a file that cannot be used; it is tried again until it can.

        Without states nobody is answered, so nobody is ever answered with products that were not looked up: one that is
        withdrawn or out of stock would be among them.
        """
        products, stock, timeline = (
            self._settings.products_path,
            self._settings.stock_path,
            self._settings.timeline_path,
        )
        stamps = {path: stamp_of(path) for path in (products, stock, timeline)}
        new = {path for path, stamp in stamps.items() if stamp is not None and stamp != self._seen.get(path)}
        if new & {products, stock}:
            known = replace(known, catalogue=load_catalogue(products, stock))
        if timeline in new:
            counted = self._census.hours()
            known = replace(known, population_hours=population_hours(timeline) if counted is None else counted)
        self._seen |= {path: stamp for path, stamp in stamps.items() if stamp is not None}
        return known

    def _with_store(self, known: Knowledge) -> Knowledge:
        if known.states is not None:
            return known
        reliance = self._runtime.reliance
        reader = OnlineReader(self._settings, self._runtime.clock) if reliance is None else reliance.reader
        try:
            reader.read_state("")  # nobody: only asks whether the store is there
        except OmniError as error:
            if reliance is None or not isinstance(error, UnavailableError):
                return known if known.store_problem == str(error) else replace(known, store_problem=str(error))
            logger.warning("Customers are folded from the log until the online store answers: %s", error)
        alone = None if reliance is not None else LiveStates(reader, self._runtime.log, self._runtime.store_problem)
        states = alone if reliance is None else reliance.states()
        return replace(known, states=states, store_problem="")
