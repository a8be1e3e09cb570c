"""The power goes at any moment: what was acknowledged before is there afterwards, byte for byte, and nothing that was not asked for.

One real server, under load from clients that remember every answer (load_client.py), with roles that die now and then and stops and starts
in between, is witnessed down to its writes and syncs (powercut.c, power.py). From that one run hundreds of images are made of
what a disk might hold after a power cut. On one in ten a real server is started, and asked for
its ledger and to verify itself; on the others the store is opened as it does.

THURN_POWER_IMAGES: how many (200); THURN_POWER_REAL_EVERY: 1 starts the server on each; THURN_POWER_SEED: which;
THURN_POWER_ANSWERS: how long the run is."""
import concurrent.futures
import contextlib
import itertools
import mmap
import os
import pathlib
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import load_client
import power
import thurn

IMAGES = int(os.environ.get("THURN_POWER_IMAGES", "200"))
SEED = int(os.environ.get("THURN_POWER_SEED", "1"))
REAL_EVERY = int(os.environ.get("THURN_POWER_REAL_EVERY", "10"))
DUMP = thurn.BUILD / "tests/system/store_dump"
WITNESS = thurn.BUILD / "tests/system/powercut.so"
DOMAIN = "recipient.test"
LISTENS = ("smtp", "submission", "lmtp", "imap", "pop3")
SETTINGS = "auth_without_tls_on_loopback: yes\nroutes: [ { domain: elsewhere.test, host: \"[127.0.0.9]\", port: 9 } ]"


def server_in(folder, data, **options):
    server = thurn.Server(folder, DOMAIN, settings=SETTINGS, protocols=LISTENS, **options)
    server.data = data
    server.may_lose_roles = True
    return server


class Witnessed:
    """A run of a server whose every write is recorded in `journal`, and every answer in `record`."""

    def __init__(self, folder, seed):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "disk"
        self.root.mkdir()
        self.journal, self.control = self.folder / "journal", self.folder / "control"
        self.control.write_bytes(bytes(8))
        env = {"LD_PRELOAD": str(WITNESS), "POWERCUT_ROOT": str(self.root), "POWERCUT_JOURNAL": str(self.journal), "POWERCUT_CONTROL": str(self.control),
               "POWERCUT_HASTE": "20"}
        self.env = env
        self.server = server_in(self.folder / "server", self.root / "data", env=env)
        self.record = load_client.Record()
        self.chance = random.Random(seed)
        self.accounts = {}                                  # name: when it was acknowledged
        self.deaths = 0

    def load(self):
        self.loads = getattr(self, "loads", 0) + 1
        return load_client.Load(self.server.address, self.server.ports, DOMAIN, thurn.PASSWORD, self.record, seed=f"{SEED} {self.loads}",
                                elsewhere="elsewhere.test", sizes=(200, 12000), large=0.01)

    def die(self, role):
        """The role ends between two of its changes, some of them later."""
        pid = next((row["pid"] for row in self.server.roles() if row["role"] == role), 0)
        if not pid:
            return
        with open(self.control, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:] = struct.pack("=ii", 0, 0)
            shared[4:8] = struct.pack("=i", self.chance.randrange(1, 60))
            shared[0:4] = struct.pack("=i", pid)
        self.deaths += 1
        return pid

    def churn(self):
        """Mail that comes and goes: segments die, and are used again after the next checkpoint."""
        with contextlib.closing(load_client.Imap(self.server.address, self.server.ports["imap"], f"churn@{DOMAIN}", thurn.PASSWORD)) as imap:
            for _ in range(12):
                imap.command("APPEND INBOX", b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 20000)
            imap.command("SELECT INBOX")
            imap.command("STORE 1:* +FLAGS (\\Deleted)")
            imap.command("EXPUNGE")

    def run(self, answers):
        server = self.server
        server.start()
        server.stop()
        server.use_small_segments()
        server.start()
        server.add_domain()
        for name in [*load_client.Load.account_names(), "churn"]:
            server.add_account(name)
            self.accounts[name] = time.monotonic()
        for life in range(3):
            if life > 0:
                server.start()
            self.churn()
            with self.load():
                self.record.wait_for_more(answers // 6)
                for role in ("post", "auth", "post"):
                    pid = self.die(role)
                    self.record.wait_for_more(answers // 18)
                    if pid and role == "post":
                        thurn.wait_until(lambda: len(server.events("role-died")) >= 1, "post to die")
            server.stop()
        return self


def cuts_of(entries, count, chance):
    """Places to cut: half anywhere, half about the end of a sync, where answers go out; some while the server begins."""
    ends = [number for number, entry in enumerate(entries) if entry.kind == power.SYNC_END]
    found = set()
    while len(found) < min(count, len(entries) - 2):
        place = chance.random()
        if place < 0.08:
            number = chance.randrange(min(400, len(entries) - 1))
        elif place < 0.5:
            number = chance.randrange(len(entries) - 1)
        else:
            number = chance.choice(ends) + chance.randrange(-3, 4)
        if 0 <= number < len(entries) - 1:
            found.add(number)
    return sorted(found)


def images(entries, root, cuts, chance, folder, keeps=(0, 0.1, 0.5, 0.9, 1), **options):
    """(path, moment, words) of an image for each cut."""
    disk, moments, at = power.Disk(root, **options), power.limits(entries), 0
    for number in cuts:
        while at <= number:
            disk.feed(entries[at])
            at += 1
        keep = chance.choice(keeps)
        path = folder / f"image-{number}"
        disk.cut(path, chance, keep)
        yield path, moments[number], f"cut at record {number} of {len(entries)}, keep {keep}"


def read_dump(data):
    """What store_dump says: ({account: as load_client.look gives it}, ids in the queue)."""
    accounts, ids, at = {}, set(), 0
    while True:
        end = data.index(b"\n", at)
        what, *words = data[at:end].decode().split(" ")
        at = end + 1
        if what == "account":
            boxes, subscribed, nexts = accounts[int(words[0])] = ({}, set(), {})
        elif what == "mailbox":
            name = " ".join(words[3:])
            if words[1] == "1" and name != load_client.BARRIER:
                subscribed.add(name)
            if words[2] == "1":
                boxes[name], nexts[name] = {}, int(words[0])
        elif what == "message":
            uid, size = int(words[0]), int(words[1])
            text = data[at:at + size]
            at += size + 1
            boxes[name][uid] = (load_client.key_of(text), frozenset(words[2:]), text)
        elif what == "queued":
            ids.add(words[0])
        else:
            return accounts, ids


def judge_accounts(run, moment, seen_of):
    wrong = []
    for account, since in run.accounts.items():
        if since > moment or account in ("sender", "churn"):
            continue
        seen = seen_of(account)
        if not account.startswith("imap"):
            wrong += run.record.judge_inbox(account, moment, seen)
        elif run.record.accounts[account] and run.record.accounts[account][0].end <= moment:
            wrong += run.record.judge_account(account, moment, seen)
    return wrong


def judge_by_dump(run, path, moment):
    """Opens the image's store and directory as the roles do; what is wrong with what they have."""
    names, database = {}, path / "data/directory/directory.db"
    if database.exists():
        with contextlib.closing(sqlite3.connect(database)) as directory, contextlib.suppress(sqlite3.DatabaseError):
            names = {(name if "@" in name else f"{name}@{domain}"): number
                     for number, name, domain in directory.execute("SELECT id, name, domain FROM account")}
    if not (path / "data/store").exists():
        return [f"{name} is lost with all the store" for name, since in run.accounts.items() if since <= moment]
    done = subprocess.run([DUMP, path / "data/store", *map(str, names.values())], capture_output=True, timeout=4 * thurn.TIMEOUT)
    if done.returncode != 0:
        return [f"the store does not open: {done.stderr.decode()}"]
    accounts, ids = read_dump(done.stdout)
    lost = [name for name, since in run.accounts.items() if since <= moment and f"{name}@{DOMAIN}" not in names]
    if lost:
        return [f"accounts are lost: {lost}"]

    def seen_of(account):                                   # a new account's mailboxes are made at the next start, too
        return accounts.get(names[f"{account}@{DOMAIN}"], ({name: {} for name in load_client.STANDARD}, set(), {}))
    return judge_accounts(run, moment, seen_of) + run.record.judge_queue(moment, ids)


def judge_by_server(run, path, moment):
    """Starts a real server on the image, logs in as everybody and looks."""
    wrong = []
    with tempfile.TemporaryDirectory(prefix="thurn-power-", dir=path.parent) as folder:
        server = server_in(folder, path / "data")
        for name in ("certificate", "key"):
            shutil.copy(getattr(run.server, name), getattr(server, name))

        def seen_of(account):
            with contextlib.closing(load_client.Imap(server.address, server.ports["imap"], f"{account}@{DOMAIN}", thurn.PASSWORD)) as imap:
                return load_client.look(imap)
        try:
            server.start()
            wrong = judge_accounts(run, moment, seen_of) + run.record.judge_queue(moment, {row["id"] for row in server.queue()})
            wrong += server.audit()
        except (AssertionError, load_client.Refused, OSError) as error:
            wrong.append(f"{type(error).__name__}: {error}; it said: {server.said()[-500:]}")
        finally:
            if server.process and server.process.poll() is None:
                server.process.kill()
                server.process.wait(thurn.TIMEOUT)
            server.stop()
    return wrong


class PowerCuts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 << 30 else None
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-power-", dir=base))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.run_ = Witnessed(cls.folder, SEED)
        cls.addClassCleanup(cls.run_.server.stop)
        cls.run_.run(int(os.environ.get("THURN_POWER_ANSWERS", "3000")))
        cls.entries = power.read_journal(cls.run_.journal)

    def judge_all(self, cuts, seed, **options):
        """What is wrong with each image, by its words."""
        chance, found = random.Random(seed), {}
        slots, number = threading.Semaphore(4), itertools.count()

        def one(path, moment, words):
            try:
                found[words] = (judge_by_dump if next(number) % REAL_EVERY else judge_by_server)(self.run_, path, moment)
            finally:
                shutil.rmtree(path)
                slots.release()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            work = []
            for image in images(self.entries, self.run_.root, cuts, chance, self.folder, **options):
                slots.acquire()
                work.append(pool.submit(one, *image))
            for each in work:
                each.result()
        return found

    def test_1_the_witness_saw_everything(self):
        """The journal alone makes the same folder, byte for byte; and there was enough to see."""
        disk = power.Disk(self.run_.root)
        for entry in self.entries:
            disk.feed(entry)
        disk.write_now(self.folder / "now")
        self.assertEqual(power.differences(self.run_.root, self.folder / "now"), [])
        kinds = {kind: sum(entry.kind == kind for entry in self.entries) for kind in range(1, 11)}
        print(f"journal: {len(self.entries)} records {kinds}; answers: {dict(self.run_.record.by_kind)}; deaths {self.run_.deaths}", file=sys.stderr)
        self.assertGreater(disk.syncs, 500)
        self.assertGreater(kinds[power.RENAME], 10, "segments are made and used again")
        for kind in ("SMTP", "SUBMISSION", "QUEUED", "LMTP", "POP3", "APPEND", "STORE", "COPY", "MOVE", "EXPUNGE", "CREATE", "RENAME", "DELETE", "SUBSCRIBE"):
            self.assertGreater(self.run_.record.by_kind[kind], 0, kind)

    def test_2_nothing_acknowledged_is_lost_or_altered(self):
        found = self.judge_all(cuts_of(self.entries, IMAGES, random.Random(SEED)), SEED)
        self.assertGreaterEqual(len(found), min(IMAGES, len(self.entries) // 2))
        wrong = [f"{words}: " + "; ".join(text[:300] for text in texts[:5]) for words, texts in found.items() if texts]
        self.assertEqual(len(wrong), 0, f"{len(wrong)} of {len(found)} images:\n" + "\n".join(wrong))

    def test_3_a_disk_that_lies_loses_mail(self):
        """Without the syncs of files in the journal, or without those of folders, the same comparison finds losses: it can."""
        late = [len(self.entries) * number // 10 for number in range(5, 10)]
        for kind in (power.File, power.Folder):
            with self.subTest(kind.__name__):
                found = self.judge_all(late, SEED + 1, deaf_to=kind, keeps=(0,))
                self.assertEqual([words for words, texts in found.items() if not texts], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
