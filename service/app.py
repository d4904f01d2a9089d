"""The application: everything is made here, in one place, and handed on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import numpy as np
from fastapi import FastAPI

from service import admin, browse, health, problems, redis_clients, routes, site
from service.announcements import Announcements
from service.batcher import Batcher
from service.builder import OfferBuilder
from service.bundles import BundleDirectory
from service.cache import ResultCache
from service.device import open_device
from service.epoch import Epoch
from service.event_files import EventFiles
from service.events import EventLog
from service.experiments import Experiments
from service.fast_path import FastPath
from service.features import source_of
from service.keys import KeyRing
from service.limits import Limits
from service.live import LiveCatalogue
from service.metrics import Metrics
from service.middleware import BodyLimit, RequestContext
from service.protocol import ClientLimits
from service.pseudonyms import Pseudonyms
from service.rate_limit import RateLimit
from service.readiness import Readiness
from service.recent import RecentItems
from service.replica import Replica
from service.retriever import Retriever
from service.settings import ServiceSettings
from service.state import Service
from service.store import WRITE_TIMEOUT_S, ItemStore
from service.tracing import Tracing
from service.variants import load_variants

logger = logging.getLogger(__name__)

N_EXAMPLES, EXAMPLE_WORDS = 6, 4


def create_app(settings: ServiceSettings) -> FastAPI:
    """Make the application; its lifespan loads the bundles and starts what it needs.

    Raises, when started:
        RadsearchError: if a bundle, the features file, Redis or the event log cannot be used.
    """
    metrics = Metrics()
    readiness = Readiness()
    tracing = Tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with start(settings, metrics, tracing) as service:
            app.state.service = service
            readiness.open()
            metrics.processes.set(1)
            logger.info("ready", extra={"epochs": service.catalogue.offer.epoch_ids})
            yield
            readiness.drain()
        logger.info("stopped")

    app = FastAPI(
        title="radsearch",
        summary="Generative retrieval for e-commerce search.",
        version=version("radsearch"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's page loads its scripts from a CDN; ours is in site
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry=tracing.of_requests,
    )
    app.state.metrics = metrics
    app.state.readiness = readiness
    app.state.client_limits = ClientLimits(settings.max_connections, settings.client_timeout_s)
    # The one added last is the outermost.
    app.add_middleware(FastPath)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.client_timeout_s)
    app.add_middleware(RequestContext, metrics=metrics, readiness=readiness)
    problems.install(app)
    app.include_router(routes.router)
    app.include_router(browse.router)
    app.include_router(admin.router)
    app.include_router(health.router)
    site.install(app)
    return app


@asynccontextmanager
async def start(settings: ServiceSettings, metrics: Metrics, tracing: Tracing) -> AsyncIterator[Service]:
    """Load and start all parts of the service, and stop them in the opposite order.

    Raises:
        RadsearchError: if a bundle, the features file, the keys file, Redis or the event log cannot be used.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        keys = KeyRing(settings.keys, metrics)
        keys.start()
        stack.push_async_callback(keys.close)
        events = _event_log(settings, metrics)
        stack.push_async_callback(events.close)
        device = await asyncio.to_thread(open_device, settings.provider)
        variants = await asyncio.to_thread(load_variants, settings, device)
        store = ItemStore.connect(
            url=settings.redis_url.get_secret_value() if settings.redis_url is not None else None,
            namespace=settings.redis_namespace,
            timeout_ms=settings.redis_timeout_ms,
            ttl_s=settings.epoch_ttl_s,
            metrics=metrics,
        )
        stack.push_async_callback(store.close)
        catalogue = await asyncio.to_thread(LiveCatalogue, variants, store, settings.filter_cache, metrics)
        await store.start(catalogue.epochs)
        experiments = Experiments(
            source_of(settings),
            settings.growthbook_cache,
            lambda: catalogue.offer.traffic,
            metrics,
            may_load=settings.bundles_root is not None,
        )
        stack.push_async_callback(experiments.close)
        await experiments.start()
        bundles = BundleDirectory(settings.bundles_root)
        replica = Replica(
            catalogue,
            Announcements(redis_clients.connect(store.address, WRITE_TIMEOUT_S), settings.redis_namespace),
            OfferBuilder(
                settings, device, {name: each.bundle.path for name, each in variants.items()}, bundles
            ),
            metrics,
        )
        stack.push_async_callback(replica.close)
        await replica.start()
        batcher = Batcher(
            max_batch=settings.max_batch,
            max_batch_s=settings.max_batch_ms / 1000,
            max_queue_s=settings.max_queue_ms / 1000,
            queue_limit=settings.queue_limit,
            workers=settings.workers or device.workers(settings.processes),
            metrics=metrics,
            tracing=tracing,
        )
        stack.push_async_callback(batcher.close)
        limits = Limits.of(settings, catalogue)
        recent = RecentItems(store, settings.item_cache)
        stack.push_async_callback(recent.close)
        shared = store if settings.redis_url is not None else None  # an embedded server has one replica
        cache = ResultCache(settings.result_cache, settings.result_ttl_s, shared, metrics)
        retriever = Retriever(
            catalogue, experiments, batcher, recent, cache, events, limits, metrics, tracing
        )
        yield Service(
            catalogue=catalogue,
            experiments=experiments,
            retriever=retriever,
            events=events,
            keys=keys,
            rate_limit=RateLimit(settings.rate_limit, settings.rate_burst, metrics),
            limits=limits,
            replica=replica,
            bundles=bundles,
            examples=settings.examples or popular_titles(catalogue.epochs[0]),
        )


def _event_log(settings: ServiceSettings, metrics: Metrics) -> EventLog:
    """The event log of this process.

    Raises:
        ServiceError: if its directory cannot be written to.
    """
    files = EventFiles(settings.event_log, settings.event_log_file_bytes, settings.event_log_keep_days)
    salt = settings.user_salt.get_secret_value() if settings.user_salt is not None else None
    return EventLog(files, settings.event_log_flush_ms / 1000, Pseudonyms(salt), metrics)


def popular_titles(epoch: Epoch) -> tuple[str, ...]:
    """Queries to try: how the titles of the most popular items begin."""
    best = np.argsort(-epoch.prior, kind="stable")[: 4 * N_EXAMPLES]
    items = epoch.catalogue.items(best)
    starts = (" ".join(item["title"].split()[:EXAMPLE_WORDS]).lower() for item in items)
    return tuple(dict.fromkeys(starts))[:N_EXAMPLES]
