"""The roles: their sandboxes, their deaths, reload, stop, and every way a start can fail."""
import contextlib
import imaplib
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import thurn
from talk import Talk, mails, tls_client_context

ROLES = {"keys", "auth", "post", "out", "edge", "local"}


def is_alive(pid):
    """A zombie is dead."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def subject(text):
    return b"From: x@client.test\r\nSubject: " + text.encode() + b"\r\n\r\n" + b"body " * 200 + b"\r\n"


def deliver(server, text, user="bob"):
    """One message over port smtp; the answer to its end, None when the connection went before it."""
    try:
        with Talk(server.address, server.ports["smtp"]) as talk:
            talk.greet()
            return talk.mail("x@client.test", f"{user}@{server.domain}", text=text)
    except (AssertionError, OSError):
        return None


def imap(server, port="imaps"):
    client = imaplib.IMAP4_SSL(server.address, server.ports[port], ssl_context=tls_client_context(), timeout=thurn.TIMEOUT)
    client.login(f"bob@{server.domain}", thurn.PASSWORD)
    return client


def role_pids(server):
    return {(row["role"], row["index"]): row["pid"] for row in server.roles() if row["role"] != "launcher"}


class Sandbox(unittest.TestCase):
    def test_every_role_says_what_it_gave_up_and_the_kernel_agrees(self):
        with thurn.one_server() as server:
            rows = [row for row in server.roles() if row["role"] != "launcher"]
            self.assertEqual({row["role"] for row in rows}, ROLES)
            self.assertEqual(len([row for row in rows if row["role"] == "edge"]), 2)
            for row in rows:
                self.assertEqual(row["state"], "ready", row)
                status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{row['pid']}/status").read_text().splitlines() if ":" in line)
                self.assertIn("no_new_privs=yes", row["sandbox"])
                self.assertEqual(status["NoNewPrivs"].strip(), "1", row)
                if "seccomp=yes" in row["sandbox"]:
                    self.assertEqual(status["Seccomp"].strip(), "2", row)
                if row["role"] in ("edge", "keys"):
                    self.assertEqual(int(status["CapEff"], 16), 0, row)
                limits = pathlib.Path(f"/proc/{row['pid']}/limits").read_text()
                self.assertRegex(limits, r"Max core file size\s+0\s+0")

    @unittest.skipUnless(os.geteuid() == 0, "a role's descriptors are for root to look at")
    def test_no_role_keeps_descriptors_it_has_no_use_for(self):
        with thurn.one_server() as server:
            for row in server.roles():
                if row["role"] in ("edge", "keys"):
                    names = [os.readlink(path) for path in pathlib.Path(f"/proc/{row['pid']}/fd").iterdir()]
                    files = [name for name in names if name.startswith("/") and not name.startswith("/dev/")]
                    self.assertLessEqual({pathlib.Path(name) for name in files}, {server.log_path, server.stderr_path}, row)

    def test_the_socket_files_are_for_the_administrator_but_for_submission(self):
        with thurn.one_server() as server:
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (server.folder / "run").iterdir()}
            self.assertEqual(modes, {"control.sock": 0o600, "control-auth.sock": 0o600, "control-post.sock": 0o600, "submit.sock": 0o666})
            server.stop()
            self.assertEqual(list((server.folder / "run").iterdir()), [])

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "needs root and namespaces")
    def test_started_as_root_every_role_is_a_user_of_its_own(self):
        with thurn.one_server(start=False) as server:
            server.folder.chmod(0o755)
            server.write_config()
            server.config.write_text(server.config.read_text().replace("user: none", "user: thurn"))
            users = pathlib.Path("/etc/passwd").read_text() + "".join(
                f"thurn-{role}:x:{64000 + i}:{64000 + i}::/nonexistent:/usr/sbin/nologin\n" for i, role in enumerate(sorted(ROLES)))
            (server.folder / "passwd").write_text(users)
            wrapper = server.folder / "in-namespace"
            wrapper.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {server.folder}/passwd /etc/passwd && exec {server.program} \"$@\"' sh \"$@\"\n")
            wrapper.chmod(0o755)
            plain, server.program = server.program, str(wrapper)
            if subprocess.run([wrapper, "version"], capture_output=True).returncode != 0:
                self.skipTest("this machine does not let root make a mount namespace")
            server.start()
            server.add_domain()
            server.add_account("bob")
            for row in server.roles():
                if row["role"] == "launcher":
                    continue
                uid = int(dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{row['pid']}/status").read_text().splitlines())["Uid"].split()[0])
                self.assertEqual(uid, 64000 + sorted(ROLES).index(row["role"]), row)
                self.assertIn(f"user=thurn-{row['role']}", row["sandbox"])
            self.assertEqual((server.folder / "data/store").stat().st_uid, 64000 + sorted(ROLES).index("post"))
            self.assertEqual((server.folder / "data/directory").stat().st_uid, 64000 + sorted(ROLES).index("auth"))
            self.assertTrue(deliver(server, subject("as users")).startswith("250"))
            for (role, index), pid in role_pids(server).items():
                server.may_lose_roles = True
                os.kill(pid, signal.SIGKILL)
                thurn.wait_until(lambda: role_pids(server)[role, index] not in (0, pid), f"{role} to come back")
            thurn.wait_until(lambda: (deliver(server, subject("again")) or "").startswith("250"), "mail to be taken again")
            server.program = plain
            self.assertEqual(server.stop(), 0)


class Deaths(unittest.TestCase):
    def test_a_role_that_is_killed_comes_back_and_all_works_again(self):
        with thurn.one_server() as server:
            before = role_pids(server)
            for (role, index), pid in before.items():
                with self.subTest(role=role, index=index):
                    server.may_lose_roles = True
                    os.kill(pid, signal.SIGKILL)
                    thurn.wait_until(lambda: role_pids(server)[role, index] not in (0, pid), f"{role} to come back")
                    thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "all to be ready")
                    thurn.wait_until(lambda: (deliver(server, subject(f"after {role} {index}")) or "").startswith("250"), "mail to be taken")

                    def logs_in():
                        with contextlib.suppress(OSError, imaplib.IMAP4.error):
                            imap(server).logout()
                            return True
                        return False
                    thurn.wait_until(logs_in, "a login")
            self.assertEqual(len(server.events("role-died")), len(before))
            restarts = {(row["role"], row["index"]): row["restarts"] for row in server.roles() if row["role"] != "launcher"}
            self.assertEqual(set(restarts.values()), {1})

    def test_killing_any_role_under_load_loses_no_acknowledged_message(self):
        with thurn.one_server() as server:
            acknowledged, stop, chance = [], threading.Event(), random.Random(7)

            def send(number):
                count = 0
                while not stop.is_set():
                    name = f"load {number} {count}"
                    count += 1
                    answer = deliver(server, subject(name))
                    if answer is not None and answer.startswith("250"):
                        acknowledged.append(name)
            threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            killed = 0
            end = time.monotonic() + 8
            while time.monotonic() < end:
                (role, index), pid = chance.choice(list(role_pids(server).items()))
                if pid == 0:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    server.may_lose_roles = True
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                have = len(acknowledged)
                with contextlib.suppress(AssertionError):       # on with it when mail has flowed again, or after a second
                    thurn.wait_until(lambda: len(acknowledged) > have + 5, "mail to flow", timeout=1)
            stop.set()
            for thread in threads:
                thread.join(thurn.TIMEOUT)
            thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "all to be ready")
            self.assertGreater(killed, 5)
            self.assertGreater(len(acknowledged), 50)
            client = imap(server)
            client.select("INBOX", readonly=True)
            _, found = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            subjects = [part[1].decode().split(":", 1)[1].strip() for part in found if isinstance(part, tuple)]
            client.logout()
            self.assertEqual(set(acknowledged) - set(subjects), set(), "acknowledged and lost")
            self.assertEqual(server.stop(), 0)

    def test_when_the_launcher_is_killed_every_role_ends(self):
        with thurn.one_server() as server:
            pids = role_pids(server).values()
            server.may_lose_roles = True
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(thurn.TIMEOUT)
            thurn.wait_until(lambda: not any(is_alive(pid) for pid in pids), "the roles to end")
            self.assertTrue((server.folder / "run/control.sock").exists())
            server.stop()
            server.start()                                      # over the sockets that were left behind
            self.assertTrue(deliver(server, subject("again")).startswith("250"))


class Reload(unittest.TestCase):
    def test_a_reload_drops_no_connection_and_opens_and_closes_ports(self):
        with thurn.one_server() as server:
            reader = imap(server)
            reader.select("INBOX")
            with Talk(server.address, server.ports["smtp"]) as talk:
                talk.greet()
                talk.expect("MAIL FROM:<x@client.test>", "250")
                new_port = thurn.free_port(server.address)
                old_port = server.ports["pop3"]
                server.ports["imap"], moved = new_port, server.ports["imap"]
                del server.ports["pop3"]
                server.write_config()
                server.thurn("reload")
                talk.expect(f"RCPT TO:<bob@{server.domain}>", "250")
                talk.expect("DATA", "354")
                talk.send(subject("across a reload") + b".\r\n")
                self.assertTrue(talk.reply().startswith("250"))
            self.assertEqual(reader.noop()[0], "OK")
            reader.logout()
            with Talk(server.address, new_port) as talk:
                self.assertTrue(talk.line().startswith(b"* OK"))
            for port in (old_port, moved):
                with self.assertRaises(ConnectionRefusedError):
                    thurn.wait_until(lambda: socket.create_connection((server.address, port), 1).close(), "the port to close", timeout=2)

    def test_a_new_certificate_is_served_after_sighup_and_by_roles_started_later(self):
        def served():
            return ssl.get_server_certificate((server.address, server.ports["imaps"]))
        with thurn.one_server() as server:
            old = served()
            for path in (server.certificate, server.key):
                path.unlink()
            server.make_certificate()
            self.assertEqual(served(), old)
            for role in ("keys", "edge"):                       # not half of it: what is in force is what was loaded together
                server.may_lose_roles = True
                os.kill(role_pids(server)[role, 0], signal.SIGKILL)
            thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "all to be ready")
            thurn.wait_until(lambda: served() == old, "the old certificate")
            server.process.send_signal(signal.SIGHUP)
            server.wait_event("reloaded")
            new = thurn.wait_until(lambda: served() != old and served(), "the new certificate")
            self.assertEqual(new.strip(), server.certificate.read_text().strip())
            for role in ("keys", "edge"):
                server.may_lose_roles = True
                os.kill(role_pids(server)[role, 0], signal.SIGKILL)
            thurn.wait_until(lambda: all(row["state"] == "ready" for row in server.roles()), "all to be ready")
            for _ in range(8):
                self.assertEqual(served(), new)

    def test_a_configuration_that_cannot_be_changes_nothing_and_says_why(self):
        with thurn.one_server() as server:
            good = server.config.read_text()
            cases = [
                ("no_such_setting: 1\n" + good, "no_such_setting"),
                (good.replace(f"data_dir: {server.folder}/data", f"data_dir: {server.folder}/elsewhere"), "data_dir"),
                (good.replace("edges: 2", "edges: 3"), "edges"),
                (good.replace(str(server.key), f"{server.folder}/missing.pem"), "missing.pem"),
            ]
            with socket.create_server((server.address, 0)) as taken:
                port = taken.getsockname()[1]
                cases.append((good.replace(f":{server.ports['pop3']}\"", f":{port}\""), str(port)))
                for text, names in cases:
                    with self.subTest(names):
                        self.assertNotEqual(text, good)
                        server.config.write_text(text)
                        done = server.thurn("reload", check=False)
                        self.assertNotEqual(done.returncode, 0)
                        self.assertIn(names, done.stderr)
                        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                        server.config.write_text(good)
                        self.assertTrue(deliver(server, subject("still here")).startswith("250"))
                        with Talk(server.address, server.ports["pop3"]) as talk:
                            self.assertTrue(talk.line().startswith(b"+OK"))
            self.assertEqual(server.thurn("reload").returncode, 0)

    def test_settings_of_the_directory_take_force(self):
        def answers(recipient, start):
            with Talk(server.address, server.ports["smtp"]) as talk:
                talk.greet()
                talk.expect("MAIL FROM:<x@client.test>", "250")
                return talk.command(f"RCPT TO:<{recipient}>").startswith(start)
        with thurn.one_server() as server:
            self.assertTrue(answers(f"bob+tag@{server.domain}", "250"))
            self.assertTrue(answers(f"bob-tag@{server.domain}", "550"))
            server.config.write_text('subaddress_separator: "-"\n' + server.config.read_text())
            server.thurn("reload")
            thurn.wait_until(lambda: answers(f"bob-tag@{server.domain}", "250"), "the new separator")
            self.assertTrue(answers(f"bob+tag@{server.domain}", "550"))

    def test_the_log_is_opened_anew_after_a_rotation(self):
        with thurn.one_server() as server:
            rotated = server.log_path.with_suffix(".1")
            server.log_path.rename(rotated)
            server.process.send_signal(signal.SIGUSR1)
            thurn.wait_until(server.log_path.exists, "the new log")
            self.assertTrue(deliver(server, subject("into the new log")).startswith("250"))
            thurn.wait_until(lambda: [row for row in server.events() if row["role"] == "edge"], "an edge's line in the new log")


class Stop(unittest.TestCase):
    def test_sigterm_lets_a_transaction_end_and_then_the_server(self):
        for how in ("signal", "command"):
            with self.subTest(how), thurn.one_server() as server, Talk(server.address, server.ports["smtp"]) as talk, \
                    Talk(server.address, server.ports["smtp"]) as idle:
                idle.greet()
                talk.greet()
                talk.expect("MAIL FROM:<x@client.test>", "250")
                talk.expect(f"RCPT TO:<bob@{server.domain}>", "250")
                talk.expect("DATA", "354")
                talk.send(b"Subject: the la")
                if how == "signal":
                    server.process.send_signal(signal.SIGTERM)
                else:
                    server.thurn("stop")
                self.assertTrue(idle.reply().startswith("421"))
                talk.send(b"st one\r\n\r\nx\r\n.\r\n")
                self.assertTrue(talk.reply().startswith("250"))
                self.assertTrue((talk.reply() or "421").startswith("421"))
                self.assertEqual(server.process.wait(thurn.TIMEOUT), 0)
                with self.assertRaises(OSError):
                    socket.create_connection((server.address, server.ports["smtp"]), 1)
                server.start()
                self.assertEqual(len(mails(server, "bob")), 1)

    def test_an_idle_server_stops_at_once(self):
        with thurn.one_server() as server:
            pids = role_pids(server).values()
            began = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - began, 5)
            self.assertFalse(any(is_alive(pid) for pid in pids))


class Start(unittest.TestCase):
    """One clear line that names the thing and the way out, and nothing half-started."""

    def refused(self, server, *names, program=None):
        done = subprocess.run([program or server.program, "serve", "--config", str(server.config)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=thurn.TIMEOUT)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for name in names:
            self.assertIn(str(name), done.stderr)
        run = server.folder / "run"
        self.assertEqual(list(run.iterdir()) if run.exists() else [], [])
        for port in server.ports.values():
            with self.subTest(port), self.assertRaises(OSError):
                socket.create_connection((server.address, port), 1).close()
        return done.stderr

    def test_a_port_in_use(self):
        with thurn.one_server(start=False) as server, socket.create_server((server.address, 0)) as taken:
            server.write_config()
            port = taken.getsockname()[1]
            server.config.write_text(server.config.read_text().replace(f":{server.ports['pop3s']}\"", f":{port}\""))
            self.refused(server, port, "in use")

    def test_an_address_that_is_not_here(self):
        with thurn.one_server(start=False) as server:
            server.write_config()
            server.config.write_text(server.config.read_text().replace(f"{server.address}:{server.ports['pop3s']}", "192.0.2.1:10995"))
            self.refused(server, "192.0.2.1")

    def test_a_key_that_is_missing_is_another_or_is_none(self):
        with thurn.one_server(start=False) as server:
            server.write_config()
            good = server.key.read_text()
            server.key.unlink()
            self.refused(server, server.key)
            server.key.write_text("nonsense\n")
            self.refused(server, server.key)
            other = server.folder / "other.pem"
            thurn.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other)
            server.key.write_text(other.read_text())
            self.refused(server, server.key, server.certificate)
            server.key.write_text(good)
            server.start()

    def test_users_who_are_not_there(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        with thurn.one_server(start=False) as server:
            server.write_config()
            server.config.write_text(server.config.read_text().replace("user: none", "user: thurn-test-nobody"))
            self.refused(server, "thurn-test-nobody-", "thurn setup")

    def test_a_data_directory_of_another_version(self):
        with thurn.one_server(accounts=("bob",)) as server:
            self.assertTrue(deliver(server, subject("x")).startswith("250"))
            server.stop()
            (server.folder / "data/directory/directory.db").write_bytes(b"of another program, or of the future" * 100)
            self.refused(server, "director")

    def test_a_second_server_on_the_same_run_directory(self):
        with thurn.one_server() as server:
            done = subprocess.run([server.program, "serve", "--config", str(server.config)], capture_output=True, text=True,
                                  timeout=thurn.TIMEOUT)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertTrue(deliver(server, subject("the first goes on")).startswith("250"))
            self.assertEqual(server.thurn("status").returncode, 0)


class Systemd(unittest.TestCase):
    def test_it_takes_sockets_that_are_handed_over_and_says_when_it_is_ready(self):
        with thurn.one_server(start=False) as server:
            server.write_config()
            folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-notify-"))
            self.addCleanup(shutil.rmtree, folder)
            notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(notify.close)
            notify.bind(str(folder / "notify"))
            notify.settimeout(thurn.TIMEOUT)
            handed = socket.create_server((server.address, server.ports["smtp"]))
            waiting = socket.create_connection((server.address, server.ports["smtp"]))      # before anybody runs
            self.addCleanup(waiting.close)

            def hand_over():
                os.dup2(handed.fileno(), 3)
            server.stderr = open(server.stderr_path, "ab")
            os.environ.update(LISTEN_FDS="1", NOTIFY_SOCKET=str(folder / "notify"))
            try:
                server.process = subprocess.Popen(
                    ["sh", "-c", 'exec env LISTEN_PID=$$ "$@"', "sh", server.program, "serve", "--config", str(server.config)],
                    preexec_fn=hand_over, close_fds=False, stdout=server.stderr, stderr=server.stderr)
            finally:
                del os.environ["LISTEN_FDS"], os.environ["NOTIFY_SOCKET"]
            handed.close()
            self.assertEqual(notify.recv(1000), b"READY=1")
            waiting.settimeout(thurn.TIMEOUT)
            self.assertTrue(waiting.recv(1000).startswith(b"220"))
            self.assertTrue(any(row["state"] == "ready" for row in server.roles()))
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(notify.recv(1000), b"STOPPING=1")
            self.assertEqual(server.process.wait(thurn.TIMEOUT), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
