#!/usr/bin/env python3
"""Plays every SMTP transcript that can be played (play.py) to a whole server, with the standard cast set up."""
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

import play     # noqa: E402
import thurn    # noqa: E402

FACES = {"mx": "smtp", "submission": "submission", "submissions": "submissions", "lmtp": "lmtp"}
PLAYABLE_MIN = 18       # a runner that skips everything has shown nothing


def set_up(server):
    server.host = "mx.recipient.test"
    server.start()
    server.add_domain()
    for name in ("alice", "bob"):
        server.add_account(name)
    server.add_alias("postmaster@recipient.test", "bob@recipient.test")


def main():
    failed, played = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        server = thurn.Server(folder, "recipient.test", protocols=tuple(FACES.values()),
                              sections={"limits": ["message_size: 100000"]})
        try:
            set_up(server)
            ports = {face: server.ports[protocol] for face, protocol in FACES.items()}
            for path in sorted((HERE / "smtp").glob("*.txt")):
                outcome = play.play(path, server.address, ports)
                failed += outcome is not None and outcome[0] == "failed"
                played += outcome is None
                print(path.name, "ok" if outcome is None else f"{outcome[0]}: {outcome[1]}", flush=True)
        finally:
            server.stop()
            print(server.said(), end="")
    if played < PLAYABLE_MIN:
        print(f"only {played} were played")
    return 1 if failed or played < PLAYABLE_MIN else 0


if __name__ == "__main__":
    sys.exit(main())
