"""A client that says something all the time and gets nowhere is sent away; one that has got somewhere is not."""
import select
import threading
import unittest

import thurn
from talk import Talk


class Trickle(unittest.TestCase):
    def trickle(self, talk, pieces):
        """Sends the pieces over and over, a moment between them, until the server has had enough."""
        over = threading.Event()
        try:
            for _ in range(int(10 * thurn.TIMEOUT)):
                for piece in pieces:
                    talk.send(piece)
                    readable, _, _ = select.select([talk.socket], [], [], 0.05)
                    if readable and not talk.fill():
                        return True
                over.wait(0.02)
        except OSError:
            return True
        return False

    def test_who_trickles_is_sent_away(self):
        with thurn.one_server(sections={"limits": ["progress: 2s"]}) as server:
            with Talk(server.address, server.ports["imaps"], tls=True) as reader:
                reader.line()
                reader.send(f"a LOGIN bob@recipient.test {thurn.PASSWORD}\r\n")
                self.assertIn(b"a OK", reader.line())
                with self.subTest("a command that never ends"), Talk(server.address, server.ports["smtp"]) as talk:
                    self.assertTrue(self.trickle(talk, ["E"]))
                    self.assertIn(b"421", talk.have)
                with self.subTest("commands that lead nowhere"), Talk(server.address, server.ports["smtp"]) as talk:
                    self.assertTrue(self.trickle(talk, ["NOOP\r\n", "RSET\r\n"]))
                with self.subTest("a message that never ends"), Talk(server.address, server.ports["smtp"]) as talk:
                    talk.greet()
                    for line in ("MAIL FROM:<x@client.test>", "RCPT TO:<bob@recipient.test>"):
                        talk.expect(line, "250")
                    talk.expect("DATA", "354")
                    self.assertTrue(self.trickle(talk, ["x", "\r\n"]))
                with self.subTest("no login"), Talk(server.address, server.ports["imap"]) as talk:
                    self.assertTrue(self.trickle(talk, ["a NOOP\r\n"]))
                with self.subTest("no TLS handshake"), Talk(server.address, server.ports["imaps"]) as talk:
                    self.assertTrue(self.trickle(talk, [b"\x16", b"\x03", b"\x01", b"\x3f", b"\xff", *[b"\x01"] * 10000]))
                self.assertGreaterEqual(len(server.events("no-progress")), 5)
                reader.send("b NOOP\r\n")
                self.assertIn(b"b OK", reader.line())           # logged in: by now it has been silent for longer


if __name__ == "__main__":
    unittest.main()
