"""What a server does beside answering: old jobs and files go, webhooks are sent, inputs are downloaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from latentsync.serve.context import Service
from latentsync.serve.inputs import fetch_next
from latentsync.serve.retention import tidy
from latentsync.serve.webhooks import send_next

log = logging.getLogger(__name__)
TIDY_S, BUSY_S = 60.0, 0.5


def start(service: Service) -> threading.Event:
    """Start the threads. Returns: what ends them."""
    ended = threading.Event()
    chores = [("tidy", tidy, TIDY_S), *2 * [("webhooks", send_next, BUSY_S)]]
    if service.config.urls:
        chores += 2 * [("fetch", fetch_next, BUSY_S)]
    for name, work, pause_s in chores:
        thread = threading.Thread(target=_again, args=(ended, service, work, pause_s), name=name, daemon=True)
        thread.start()
    return ended


def _again(ended: threading.Event, service: Service, work: Callable[[Service], bool], pause_s: float) -> None:
    """Work until there is none, then wait a little. An error is logged and does not end the thread."""
    while not ended.is_set():
        try:
            if work(service):
                continue
        except Exception as error:  # the edge of a thread: the next turn may do better
            log.error("chore failed: %s", type(error).__name__, exc_info=error)
        ended.wait(pause_s)
