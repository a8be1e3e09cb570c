"""SIGKILL to each role and to the whole server at any moment, under load from clients that remember every answer (load_client.py).

After each the server is there again, and everything that was acknowledged is there: messages by the byte, flags, mailboxes, what waits
to be sent; what was expunged stays away, nothing is there twice; the ledger balances, and `thurn verify` finds nothing. The IMAP
workers look at their whole account each time that their connection was cut; after each death of everything all accounts are looked at.

THURN_KILLS: how many (120); THURN_KILL_SEED: which."""
import collections
import contextlib
import os
import random
import signal
import sys
import time
import unittest

import load_client
import thurn
from talk import Sink

KILLS = int(os.environ.get("THURN_KILLS", "120"))
SEED = int(os.environ.get("THURN_KILL_SEED", "1"))
DOMAIN = "recipient.test"
LISTENS = ("smtp", "submission", "lmtp", "imap", "pop3")


class Kills(unittest.TestCase):
    def setUp(self):
        self.sink = self.enterContext(Sink("127.0.0.9"))
        settings = f'auth_without_tls_on_loopback: yes\nroutes: [ {{ domain: elsewhere.test, host: "[127.0.0.9]", port: {self.sink.port} }} ]'
        self.server = self.enterContext(thurn.one_server(start=False, domain=DOMAIN, settings=settings, protocols=LISTENS))
        self.server.may_lose_roles = True
        self.server.start()
        self.server.stop()
        self.server.use_small_segments()
        self.server.start()
        self.server.add_domain()
        for name in load_client.Load.account_names():
            self.server.add_account(name)
        self.record = load_client.Record()
        self.chance = random.Random(SEED)
        self.killed = collections.Counter()

    def load(self):
        return load_client.Load(self.server.address, self.server.ports, DOMAIN, thurn.PASSWORD, self.record, elsewhere="elsewhere.test",
                                seed=f"{SEED} {sum(self.killed.values())}", sizes=(200, 4000), large=0.003, pace=0.02)

    def kill_one(self, role):
        """At a moment that has nothing to do with what the role is about; on when others are answered again."""
        pid = thurn.wait_until(lambda: self.pids().get(role), f"{role} to run")
        self.record.wait_for_more(self.chance.randrange(1, 30))
        time.sleep(self.chance.random() * 0.02)             # chance, no synchronisation
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.killed[role[0]] += 1
        thurn.wait_until(lambda: self.pids().get(role) not in (0, None, pid), f"{role} to come back")

    def pids(self):
        return {(row["role"], row["index"]): row["pid"] for row in self.server.roles() if row["role"] != "launcher"}

    def kill_all(self):
        victims = [self.server.process.pid, *self.pids().values()]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)
        self.server.process.wait(thurn.TIMEOUT)
        self.killed["all"] += 1

    def wrong(self):
        wrong, now = [], time.monotonic()
        for account in load_client.Load.account_names():
            if account == "sender":
                continue
            with contextlib.closing(load_client.Imap(self.server.address, self.server.ports["imap"], f"{account}@{DOMAIN}", thurn.PASSWORD)) as imap:
                seen = load_client.look(imap)
            if account.startswith("imap"):
                wrong += self.record.judge_account(account, now, seen)
            else:
                wrong += self.record.judge_inbox(account, now, seen)
        return wrong

    def meddle(self):
        """Behind the record's back: a message less, and a flag more."""
        for account, change in (("recipient0", ("STORE 1 +FLAGS (\\Deleted)", "EXPUNGE")), ("imap0", ("STORE 1 +FLAGS ($Meddled)",))):
            with contextlib.closing(load_client.Imap(self.server.address, self.server.ports["imap"], f"{account}@{DOMAIN}", thurn.PASSWORD)) as imap:
                full = next(name for name, rows in load_client.look(imap)[0].items() if rows)
                imap.command(f'SELECT "{full}"')
                for line in change:
                    imap.command(line)

    def judge_elsewhere(self):
        """Each message for elsewhere has come there, or is in the queue still."""
        with self.sink.lock:
            came = collections.Counter(load_client.key_of(text) for text in self.sink.messages)
        waiting = {row["id"] for row in self.server.queue()}
        lost = [operation.keys[0] for operation in self.record.queued if operation.end is not None and not operation.is_refused
                and came[operation.keys[0]] == 0 and operation.names[0] not in waiting]
        self.assertEqual(lost, [])
        return came

    def test_nothing_acknowledged_is_lost_whoever_dies_and_whenever(self):
        roles = sorted(self.pids())
        while sum(self.killed.values()) < KILLS:
            with self.load():
                for role in self.chance.sample(roles, len(roles)):
                    self.kill_one(role)
                self.record.wait_for_more(self.chance.randrange(5, 40))
                self.kill_all()
            self.server.stop()
            self.server.start()
            self.assertEqual(self.wrong()[:10] + self.server.audit(), [], f"after {dict(self.killed)}")
            self.judge_elsewhere()
        thurn.wait_until(lambda: not self.server.queue(), "the queue to be empty", timeout=2 * thurn.TIMEOUT)
        came = self.judge_elsewhere()
        twice = sum(count - 1 for count in came.values())
        self.assertLessEqual(twice, sum(self.killed.values()), "a second copy only where a death fell into the one window that there is")
        self.meddle()
        self.assertEqual(len(self.wrong()), 2, "the comparison sees what it has to")
        self.assertEqual(self.server.stop(), 0)
        print(f"killed {dict(self.killed)}; answers {dict(self.record.by_kind)}; {twice} second copies elsewhere", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
