"""The peer: Redpanda Connect, an engine for pipelines written in Go, does the same job in this process.

    python -m benchmarks.peer --concurrency 2 --referrals 1000

prints as JSON what a referral cost, as `benchmarks.programs` does. The pipeline is in peer.yaml. It does less than the
app: no warnings, no telephone numbers or country codes, undeclared fields at the top level only, and no log.
"""

import argparse
import json
import os
import ssl
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from benchmarks.documents import SEED_ID, TOKEN_LENGTH

PIPELINE = Path(__file__).with_name("peer.yaml")
SCHEMA = Path(__file__).with_name("peer.schema.json")
WARM_UP = 500
"""Referrals before the measurement: connections, and the engine's own start."""


def is_installed() -> bool:
    """Whether the engine is installed. Its packages exist for a few platforms only."""
    return all(map(find_spec, ("mq_bridge", "mq_bridge_connect")))


def _pipeline(threads: int, referrals: int) -> str:
    values = {
        "count": str(WARM_UP + referrals),
        "threads": str(threads),
        "get": os.environ["REFERRALS_URL"].format(referralId=SEED_ID),
        "put": f"{os.environ['EVENTS_URL']}/messages?messagettl=-1&visibilitytimeout=0",
        "token": "t" * TOKEN_LENGTH,
        "roots": os.environ["SSL_CERT_FILE"],
        "schema": str(SCHEMA),
    }
    text = PIPELINE.read_text()
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


class _Meter:
    """The resources used so far, read once the queue has so many messages."""

    def __init__(self) -> None:
        self._url = os.environ["EVENTS_URL"].rsplit("/", 2)[0]
        self._context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        self.begun = self._wait_for(0)

    def _wait_for(self, messages: int) -> int:
        with urllib.request.urlopen(f"{self._url}/{messages}", context=self._context, timeout=120) as response:  # noqa: S310 - ours
            return int(response.read())

    def after(self, referrals: int) -> tuple[int, float, float]:
        """Messages, CPU and wall time, in seconds, after so many referrals."""
        return self._wait_for(self.begun + referrals), time.process_time(), time.perf_counter()


def measure(threads: int, referrals: int) -> dict[str, float]:
    """CPU and wall time of a referral in microseconds, without the warm-up."""
    import mq_bridge  # noqa: PLC0415 - 400 MB that only this program needs
    import mq_bridge_connect  # noqa: PLC0415

    mq_bridge_connect.register()

    def engine(pipeline: str) -> dict[str, object]:
        return {"custom": {"name": "connect", "config": {"yaml": pipeline}}}

    source, sink = engine(_pipeline(threads, referrals)), engine("output:\n  drop: {}\n")
    config = {"referrals": {"input": source, "output": sink, "concurrency": 1, "batch_size": 1}}
    meter = _Meter()
    mq_bridge.Route.from_config(config, "referrals").start()
    first, last = meter.after(WARM_UP), meter.after(WARM_UP + referrals)
    count, cpu, wall = (end - start for start, end in zip(first, last, strict=True))
    return {"cpu": cpu / count * 1e6, "wall": wall / count * 1e6}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer")
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--referrals", type=int, default=1000)
    options = parser.parse_args()
    json.dump([measure(options.concurrency, options.referrals)], sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the engine's threads would go on


if __name__ == "__main__":
    main()
