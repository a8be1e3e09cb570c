"""A message whose handling kills a role twice is set aside and reported, not tried a third time; everything else goes on."""
import os
import signal
import unittest

import thurn
from talk import Sink, submit

TEXT = b"From: alice@sender.test\r\nSubject: %s\r\n\r\nbody\r\n"


def pid_of(server, role):
    return next((row["pid"] for row in server.roles() if row["role"] == role and row["state"] == "ready"), 0)


def kill(server, role):
    """SIGKILL, and its successor is there."""
    pid = pid_of(server, role)
    os.kill(pid, signal.SIGKILL)
    thurn.wait_until(lambda: pid_of(server, role) not in (0, pid), f"{role} to come back")


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


if __name__ == "__main__":
    unittest.main()
