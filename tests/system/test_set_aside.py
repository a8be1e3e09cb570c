"""A message whose handling kills a role twice is set aside and reported, not tried a third time; everything else goes on."""
import os
import select
import signal
import unittest

import thurn
from talk import Sink, Talk, submit

TEXT = b"From: alice@sender.test\r\nSubject: %s\r\n\r\nbody\r\n"


def pid_of(server, role):
    return next((row["pid"] for row in server.roles() if row["role"] == role and row["state"] == "ready"), 0)


def kill(server, role):
    """SIGKILL, and its successor is there."""
    pid = pid_of(server, role)
    os.kill(pid, signal.SIGKILL)
    thurn.wait_until(lambda: pid_of(server, role) not in (0, pid), f"{role} to come back")


def reader(server, user):
    talk = Talk(server.address, server.ports["imaps"], tls=True)
    try:
        talk.line()
        for line in (f"LOGIN {user}@{server.domain} {thurn.PASSWORD}", "SELECT INBOX"):
            talk.send(f"x {line}\r\n")
            talk.until(b"x OK")
            talk.line()
    except BaseException:
        talk.close()
        raise
    return talk


class SetAside(unittest.TestCase):
    def test_a_message_that_kills_the_role_which_delivers_is_held_after_the_second_time(self):
        def answer(verb, line, sink):
            return "silence" if "poison" in line else None                     # the moment of the attempt lasts
        with Sink("127.0.0.9", answer=answer) as sink:
            route = f'routes: [ {{ domain: sink.test, host: "[127.0.0.9]", port: {sink.port} }} ]'
            with thurn.one_server(domain="sender.test", settings=route) as server:
                server.may_lose_roles = True
                poison = submit(server, "alice", ["poison@sink.test"], TEXT % b"poison")
                for time in (1, 2):
                    sink.wait_commands(time, "RCPT TO:<poison")
                    kill(server, "out")
                    good = submit(server, "alice", ["good@sink.test"], TEXT % b"good")
                    sink.wait_messages(time)
                    thurn.wait_until(lambda: not any(row["id"] == good for row in server.queue()), "the good message to be done")
                self.assertEqual(server.wait_event("message-set-aside", id=poison)["level"], "error")
                held = server.queue("--held")
                self.assertEqual([row["id"] for row in held], [poison])
                recipient = held[0]["recipients"][0]
                self.assertEqual(recipient["state"], "held")
                self.assertIn("set aside: the process that delivers died twice", recipient["last"])
                events = [event["event"] for event in server.why(poison)["events"]]
                self.assertEqual(events, ["accepted", "died", "died"])
                self.assertIn("set aside", server.thurn("queue", "list").stdout)
                server.stop()
                server.start()
                self.assertEqual([row["id"] for row in server.queue("--held")], [poison], "it stays so")
                self.assertEqual(len(sink.wait_commands(2, "RCPT TO:<poison")), 2, "it is not tried a third time")
                server.thurn("queue", "release", poison)
                sink.wait_commands(3, "RCPT TO:<poison")
                kill(server, "out")
                thurn.wait_until(lambda: server.queue("--held"), "it to be held again")


    def test_a_message_that_kills_the_role_which_reads_it_is_not_parsed_after_the_second_time(self):
        """The moment of parsing lasts, since it is a large message of very many parts; the file `handling` tells when it is."""
        part = b"--b\r\nContent-Type: text/plain; name=x\r\nContent-Description: a part\r\n\r\n" + b"line of text\r\n" * 20
        poison = (TEXT % b"poison").replace(b"\r\n\r\n", b'\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n', 1) + part * 10000 + b"--b--\r\n"
        with thurn.one_server(domain="sender.test") as server:
            server.may_lose_roles = True
            submit(server, "alice", ["bob@sender.test"], TEXT % b"good")
            submit(server, "alice", ["bob@sender.test"], poison)
            handling = server.folder / "data/store/handling"

            def is_set_aside():
                with reader(server, "bob") as bob:
                    pid = pid_of(server, "post")
                    bob.send("a FETCH 2 (BODYSTRUCTURE)\r\n")
                    while not select.select([bob.socket], [], [], 0)[0] and not bob.socket.pending():
                        if handling.read_bytes()[:1] not in (b"", b"\0"):       # empty: it is being made
                            os.kill(pid, signal.SIGKILL)
                            thurn.wait_until(lambda: pid_of(server, "post") not in (0, pid), "post to come back")
                            return False
                    return b'"us-ascii"' in bob.until(b"\r\na OK")           # the stand-in's; an answer of the old kind came too fast: again
            thurn.wait_until(is_set_aside, "the structure to be answered without parsing", timeout=4 * thurn.TIMEOUT)
            self.assertEqual(server.wait_event("message-set-aside")["level"], "error")
            with reader(server, "bob") as bob:
                bob.send("a FETCH 2 (BODY.PEEK[1])\r\n")
                self.assertIn(b"This message is set aside", bob.until(b"\r\na OK"))
                bob.send("b FETCH 2 (BODY.PEEK[])\r\n")
                self.assertIn(part * 10, bob.until(b"\r\nb OK"))
                bob.send("c FETCH 1 (ENVELOPE)\r\n")
                self.assertIn(b'"good"', bob.until(b"\r\nc OK"))


if __name__ == "__main__":
    unittest.main()
