"""The client for threads."""

import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack

import httpx

from radsearch.client import answers, calls
from radsearch.client.calls import AnswerT, Call, EventType, NewItem, Search, SearchOptions
from radsearch.client.retries import Attempts

DEADLINE_S = 10.0


class Client:
    """Calls one service over connections that it keeps; any number of threads may share it.

    Refusals for want of capacity (429, 503) and broken connections, also those behind a proxy (its 502, 504),
    are tried again until the deadline; what then remains is raised as a
    :class:`~radsearch.client.errors.ClientError`.

    Args:
        url: scheme, host and port of the service.
        key: bearer key, where the service asks for one; admin calls need an admin key.
        deadline_s: for a call with all its attempts. Changes of bundles take as long as loading does.
        verify: how to trust the service's certificate, as httpx takes it.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        deadline_s: float = DEADLINE_S,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=bearer(key), verify=verify)
        self._deadline_s = deadline_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(self, query: str, **options: Unpack[SearchOptions]) -> answers.SearchAnswer:
        """Find items for a query, best first."""
        return self._send(calls.search(query, options))

    def search_batch(self, searches: Sequence[Search]) -> tuple[answers.SearchAnswer | answers.Problem, ...]:
        """Find items for several queries; where one of them fails, its problem stands in its place."""
        return self._send(calls.search_batch(searches)).results

    def event(
        self,
        request_id: str,
        event_type: EventType,
        item_id: str,
        user_id: str | None = None,
        quantity: int = 1,
        price: float | None = None,
        event_id: str | None = None,
        event_time: datetime | None = None,
    ) -> None:
        """Tell what a shopper did with an answer; returns when it is on the service's disk.

        Args:
            request_id: of the answer.
            event_type: what was done.
            item_id: with which of the answer's items.
            user_id: as in the search.
            quantity: pieces.
            price: of one piece.
            event_id: unique; the event counts once however often it is sent. A fresh one by default, so that
                a call may try again. Give one to repeat a call that failed, and keep it with the event.
            event_time: when it was done, with its time zone, if not just now.
        """
        call = calls.event(request_id, event_type, item_id, user_id, quantity, price, event_id, event_time)
        self._send(call)

    def models(self) -> answers.Models:
        """Tell what is served."""
        return self._send(calls.MODELS)

    def experiments(self) -> answers.Experiments:
        """Tell how variants are assigned."""
        return self._send(calls.EXPERIMENTS)

    def attributes(self, variant: str | None = None) -> answers.Attributes:
        """Tell what filters may ask for, and how many items have it."""
        return self._send(calls.attributes(variant))

    def sids(
        self, prefix: Sequence[int] = (), variant: str | None = None, limit: int | None = None
    ) -> answers.Sids:
        """Tell what lies under a prefix of SIDs, and which codes may follow it."""
        return self._send(calls.sids(prefix, variant, limit))

    def sid_titles(self, prefixes: Sequence[Sequence[int]], variant: str | None = None) -> answers.SidTitles:
        """Tell what prefixes of SIDs mean, by the titles of the most popular items under them."""
        return self._send(calls.sid_titles(prefixes, variant))

    def sid_report(self, variant: str | None = None) -> answers.SidReport:
        """Tell how well the SIDs of a catalogue are spread."""
        return self._send(calls.sid_report(variant))

    def state(self) -> answers.State:
        """Tell what is loaded, who gets it, and how it came about."""
        return self._send(calls.STATE)

    def reset(self) -> answers.State:
        """Take back every change by admins."""
        return self._send(calls.RESET)

    def load_variant(self, name: str, bundle: str) -> answers.State:
        """Load a bundle, a directory below the service's ``bundles_root``, beside the others."""
        return self._send(calls.load_variant(name, bundle))

    def unload_variant(self, name: str) -> answers.State:
        """Unload a variant that gets no traffic."""
        return self._send(calls.unload_variant(name))

    def load_catalogue(self, name: str, bundle: str) -> answers.State:
        """Let a variant search the catalogue of another bundle of the same model."""
        return self._send(calls.load_catalogue(name, bundle))

    def roll_back_catalogue(self, name: str) -> answers.State:
        """Let a variant search the catalogue before the last one."""
        return self._send(calls.roll_back_catalogue(name))

    def shift_traffic(self, shares: Mapping[str, float]) -> answers.State:
        """Give each variant a share of the callers whom no rule of the experiments concerns; together 1."""
        return self._send(calls.shift_traffic(shares))

    def roll_back_traffic(self) -> answers.State:
        """Shift the traffic back to where it was before the last shift."""
        return self._send(calls.ROLL_BACK_TRAFFIC)

    def upsert_items(self, items: Sequence[NewItem]) -> answers.State:
        """Add items to every catalogue or replace them; they are on offer."""
        return self._send(calls.upsert_items(items))

    def delist_items(self, item_ids: Sequence[str]) -> answers.Relisted:
        """Take items off offer."""
        return self._send(calls.delist_items(item_ids))

    def relist_items(self, item_ids: Sequence[str]) -> answers.Relisted:
        """Offer items again that were delisted."""
        return self._send(calls.relist_items(item_ids))

    def _send(self, call: Call[AnswerT]) -> AnswerT:
        """Send a request until it is answered, refused for good, or late.

        Raises:
            ClientError: if there is no answer, or none that was asked for.
        """
        attempts = Attempts(self._deadline_s, call.is_repeatable)
        while True:
            try:
                response = self._http.send(call.request(self._http, attempts.left_s))
            except httpx.TransportError as error:
                pause_s = attempts.pause_after_error(error)
            else:
                if response.is_success:
                    return call.read(response)
                pause_s = attempts.pause_after_answer(response)
            time.sleep(pause_s)


def bearer(key: str | None) -> dict[str, str]:
    """The header that carries a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}
