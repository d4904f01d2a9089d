"""What the routes work with."""

from dataclasses import dataclass

from service.bundles import BundleDirectory
from service.events import EventLog
from service.experiments import Experiments
from service.keys import KeyRing
from service.limits import Limits
from service.live import LiveCatalogue
from service.rate_limit import RateLimit
from service.replica import Replica
from service.retriever import Retriever


@dataclass(frozen=True)
class Service:
    """Everything that is loaded; lives in ``app.state.service`` from start to stop."""

    catalogue: LiveCatalogue
    experiments: Experiments
    retriever: Retriever
    events: EventLog
    keys: KeyRing
    rate_limit: RateLimit
    limits: Limits
    replica: Replica
    bundles: BundleDirectory
    examples: tuple[str, ...]
