"""Kill -9 at any moment: nothing acknowledged is lost and nothing counts twice, in the log, online and live.

Several senders share commits, while the stream follows them; both are killed together, in the middle of whatever they do.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

from features.log.engines import open_log
from features.online.checkpoint import Checkpoint
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.state.fold import fold_customer
from features.stream import Applier

KILLS = 4

WRITER = """
import json, os, random, sys, threading, time
from datetime import UTC, datetime, timedelta
from features.events.schema import parse_table
from features.log.group_commit import GroupCommitter
from features.log.engines import open_log
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.fold import fold_customer
from features.store.feature_store import Store
from features.stream import Applier

NOW = datetime(2018, 1, 1, tzinfo=UTC)
warm = {"event_id": "w", "kind": "view", "channel": "web", "customer_id": "c", "product_id": "p"}
fold_customer(parse_table([warm], NOW)[0])  # what is compiled is loaded once


def work(life):
    settings = Settings.from_env(os.environ)
    log, store = open_log(settings), Store(settings)
    applier = Applier(log, store.online, OnlineReader(settings), settings)
    threading.Thread(target=applier.run_forever, args=(threading.Event(), 0.001), daemon=True).start()
    committer = GroupCommitter(log)
    senders = [threading.Thread(target=send, args=(committer, life, number)) for number in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def send(committer, life, sender):
    draw = random.Random(f"{life} {sender}")
    start = datetime(2017, 1, 2, tzinfo=UTC)
    for number in range(100_000):
        items = []
        for place in range(draw.randrange(1, 6)):
            # A sender that was not answered sends again: ids repeat within a life, over lives and between senders.
            event_id = f"{draw.choice([life, max(0, life - 1)])}-{draw.randrange(number + 3)}-{place}"
            drawn = random.Random(event_id)  # the same event whenever it is sent
            items.append({
                "event_id": event_id,
                "occurred_at": (start + timedelta(hours=drawn.randrange(500))).isoformat(),
                "kind": drawn.choice(["view", "purchase", "add_to_cart"]),
                "channel": drawn.choice(["web", "store"]),
                "customer_id": f"c{drawn.randrange(5)}",
                "product_id": f"p{drawn.randrange(4)}",
                "value": 1.0,
            })
        table, rejected = parse_table(items, NOW)
        assert not rejected
        committer.submit(table).result()
        time.sleep(draw.uniform(0, 0.02))  # the stream, in the same process, gets its turn
        os.write(1, json.dumps([os.getpid(), *(item["event_id"] for item in items)]).encode() + b"\\n")


for life in sys.stdin:  # every life is a process of its own; what is imported is imported once
    pid = os.fork()
    if pid == 0:
        work(int(life))
    os.waitpid(pid, 0)
    os.write(1, b"[]\\n")
"""


def test_killed_again_and_again_the_end_state_is_the_fold_of_what_was_acknowledged(tmp_path, kit):
    store, settings = kit.make_store(tmp_path / "home", [])
    env = {**os.environ, "OMNI_HOME": str(settings.home), "OMNI_CLOCK_START": settings.clock_start.isoformat()}
    draw = np.random.default_rng(17)
    acknowledged: set[str] = set()
    checkpoint = Checkpoint(settings)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as lives:
        for life in range(KILLS):
            done = checkpoint.read()
            lives.stdin.write(b"%d\n" % life)
            lives.stdin.flush()
            line = lives.stdout.readline()  # it is at work: wait a moment, then pull the plug
            pid = json.loads(line)[0]
            if life == KILLS - 1:  # this time the stream is sure to be at work as well
                _wait_until(lambda done=done: checkpoint.read() > done, timeout_s=60)
            time.sleep(draw.uniform(0.0, 0.5))
            os.kill(pid, signal.SIGKILL)
            while line != b"[]\n":
                acknowledged.update(json.loads(line)[1:])
                line = lives.stdout.readline()
    assert len(acknowledged) >= KILLS

    log, reader = open_log(settings), OnlineReader(settings)
    try:
        kept = [event_id for batch in log.read() for event_id in batch["event_id"].to_pylist()]
        assert len(kept) == len(set(kept)) == log.count()
        assert acknowledged <= set(kept)
        assert 0 < checkpoint.read() <= log.last_seq()
        customers = [f"c{number}" for number in range(5)]
        wanted = {customer: fold_customer(log.customer_events(customer)) for customer in customers}
        for customer in customers:  # the answer right after the crash, whatever the stream had done
            kit.assert_same_states(LiveStates(reader, log).get(customer).state, wanted[customer])
        Applier(log, store.online, reader, settings).run_once()
        for customer in customers:
            kit.assert_same_states(reader.read_state(customer).state, wanted[customer])
    finally:
        reader.close()
        log.close()


def _wait_until(condition, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
