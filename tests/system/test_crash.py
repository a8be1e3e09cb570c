"""SIGKILL to one role after the other, and to whole servers, while clients submit: what was answered 250 is where it has to be.

A delivery into a mailbox here is there exactly once. A message for elsewhere is there at least once: between the other
server's 250 and our record of it lies the one window in which a death makes a second copy (queue/queue.h)."""
import collections
import contextlib
import os
import re
import signal
import threading
import unittest

import thurn
from talk import Talk, mails, submission


class Load:
    """Clients that submit until they are told to stop, and remember what was answered 250."""

    def __init__(self, server, recipients, clients=4):
        self.server, self.recipients = server, recipients
        self.acknowledged, self.tried = [], 0
        self.over = threading.Event()
        self.lock = threading.Condition()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(thurn.TIMEOUT)
            assert not thread.is_alive(), "a client hangs"

    def run(self, number):
        count = 0
        while not self.over.is_set():
            with contextlib.suppress(OSError, AssertionError), submission(self.server) as talk:
                for _ in range(5):
                    if self.over.is_set():
                        break
                    name = f"{number}-{count}-{os.urandom(4).hex()}"
                    count += 1
                    self.tried += 1
                    got = talk.mail(f"alice@{self.server.domain}", *self.recipients,
                                    text=f"From: alice@{self.server.domain}\r\nSubject: load {name}\r\n\r\n".encode() + b"body\r\n" * 200)
                    assert got is not None and got.startswith("250"), got
                    with self.lock:
                        self.acknowledged.append(name)
                        self.lock.notify_all()

    def wait_for_more(self, count):
        with self.lock:
            have = len(self.acknowledged)
            if not self.lock.wait_for(lambda: len(self.acknowledged) >= have + count, thurn.TIMEOUT):
                raise AssertionError(f"no mail is taken any more after {have} messages; {self.server.host} said: {self.server.said()}")


def pids(server):
    return {(row["role"], row["index"]): row["pid"] for row in server.roles() if row["role"] != "launcher"}


def kill_each(server, load, rounds):
    """Each role in turn, and on as soon as mail is taken again. How many died."""
    server.may_lose_roles = True
    count = 0
    for _ in range(rounds):
        for role in sorted(pids(server)):
            pid = thurn.wait_until(lambda: pids(server).get(role), f"{role} to run")
            load.wait_for_more(3)
            os.kill(pid, signal.SIGKILL)
            count += 1
            thurn.wait_until(lambda: pids(server).get(role) not in (0, None, pid), f"{role} to come back")
            load.wait_for_more(3)
    return count


def wait_healed(server):
    thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "every role to be ready")


def count_subjects(server, user):
    found = collections.Counter()
    for message in mails(server, user):
        for name in re.findall(rb"\r\nSubject: load ([0-9a-f-]+)\r\n", message[:2000]):
            found[name.decode()] += 1
    return found


class Crash(unittest.TestCase):
    def judge(self, load, found, exactly):
        missing = [name for name in load.acknowledged if found[name] == 0]
        self.assertEqual(missing, [], "acknowledged and lost")
        if exactly:
            self.assertEqual([name for name, count in found.items() if count > 1], [], "stored twice")

    def test_local_mail_is_there_exactly_once(self):
        with thurn.one_server() as server:
            with Load(server, ["bob@recipient.test"]) as load:
                killed = kill_each(server, load, 2)
            wait_healed(server)
            restarts = sum(row["restarts"] for row in server.roles())
            self.assertEqual(restarts, killed)
            self.judge(load, count_subjects(server, "bob"), exactly=True)
            self.assertEqual(server.stop(), 0)

    def test_mail_for_elsewhere_arrives_though_roles_die_on_either_side(self):
        with thurn.Network() as network:
            sender, recipient = network["sender.test"], network["recipient.test"]
            with Load(sender, ["bob@recipient.test", "bob@sender.test"], clients=2) as load:
                killed = kill_each(sender, load, 1) + kill_each(recipient, load, 1)
            wait_healed(sender)
            wait_healed(recipient)
            self.assertGreater(killed, 10)
            self.judge(load, count_subjects(sender, "bob"), exactly=True)          # the copy that stays
            thurn.wait_until(lambda: not sender.queue(), "the queue to be empty", timeout=60)
            found = count_subjects(recipient, "bob")
            self.judge(load, found, exactly=False)
            twice = [name for name, count in found.items() if count > 1]
            self.assertLessEqual(len(twice), 10 * killed, "more copies than connections that may have been cut")
            self.assertEqual([m for m in mails(sender, "alice") if b"multipart/report" in m], [], "no death is a reason to bounce")

    def test_the_whole_server_killed_at_once(self):
        with thurn.one_server() as server:
            acknowledged, server.may_lose_roles = [], True
            for _ in range(3):
                with Load(server, ["bob@recipient.test"]) as load:
                    load.wait_for_more(20)
                    victims = [server.process.pid, *pids(server).values()]
                    for pid in victims:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    server.process.wait(thurn.TIMEOUT)
                server.stop()
                server.start()
                acknowledged += load.acknowledged
            load.acknowledged = acknowledged
            self.judge(load, count_subjects(server, "bob"), exactly=True)

    def test_a_session_that_reads_while_post_dies_is_told_or_cut_and_may_come_back(self):
        with thurn.one_server() as server:
            with Talk(server.address, server.ports["smtp"]) as talk:
                talk.greet()
                self.assertTrue(talk.mail("x@client.test", "bob@recipient.test").startswith("250"))
            with Talk(server.address, server.ports["imaps"], tls=True) as reader:
                reader.line()
                for line in ("a LOGIN bob@recipient.test wonderland", "b SELECT INBOX"):
                    reader.send(line + "\r\n")
                    reader.until(f"\r\n{line[0]} OK".encode() if line[0] == "b" else b"a OK")
                server.may_lose_roles = True
                os.kill(pids(server)["post", 0], signal.SIGKILL)
                self.assertIn(reader.rest().count(b"* BYE"), (0, 1))              # the end, with a word when there is time for one
            wait_healed(server)
            self.assertEqual(len(mails(server, "bob")), 1)


class Reload(unittest.TestCase):
    def test_a_reload_under_load_drops_nothing_and_takes_effect(self):
        """Connections that are open stay as they are; limits and ports are new for the next."""
        with thurn.one_server() as server:
            with Load(server, ["bob@recipient.test"], clients=2) as load:
                for number in range(6):
                    load.wait_for_more(3)
                    open_before = Talk(server.address, server.ports["smtp"])
                    open_before.greet()
                    open_before.expect("MAIL FROM:<x@client.test>", "250")
                    size = 1_000_000 + number
                    server.sections = {"limits": [f"message_size: {size}"]}
                    server.ports["lmtp"] = thurn.free_port(server.address)
                    server.write_config()
                    if number % 2:
                        server.thurn("reload")
                    else:
                        count = len(server.events("reloaded"))
                        server.process.send_signal(signal.SIGHUP)
                        thurn.wait_until(lambda: len(server.events("reloaded")) > count, "the reload")

                    def offered():
                        with Talk(server.address, server.ports["smtp"]) as talk:
                            return f"SIZE {size}" in talk.greet()
                    thurn.wait_until(offered, "the new size to be offered")
                    with Talk(server.address, server.ports["lmtp"]) as talk:
                        talk.greet(verb="LHLO")
                    open_before.expect("RCPT TO:<bob@recipient.test>", "250")
                    open_before.expect("DATA", "354")
                    open_before.send("Subject: load reload\r\n\r\nx\r\n.\r\n")
                    self.assertTrue(open_before.reply().startswith("250"))
                    open_before.close()
            self.assertEqual(len(load.acknowledged), load.tried, "a connection was dropped")
            self.assertEqual(server.events("role-died"), [])
            found = count_subjects(server, "bob")
            self.assertEqual([name for name in load.acknowledged if found[name] != 1], [])

    def test_a_message_over_the_new_size_is_refused(self):
        with thurn.one_server() as server:
            server.sections = {"limits": ["message_size: 65536"]}
            server.write_config()
            server.thurn("reload")
            with Talk(server.address, server.ports["smtp"]) as talk:
                talk.greet()
                self.assertTrue(talk.command("MAIL FROM:<x@client.test> SIZE=65537").startswith("552 5.3.4"))
                got = talk.mail("x@client.test", "bob@recipient.test", text=b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 1000)
                self.assertTrue(got.startswith("552 5.3.4"), got)


if __name__ == "__main__":
    unittest.main(verbosity=2)
