"""The servers that bench/accept compares, each in a folder of its own, on loopback, on free ports.

A server has: name, settings (what is stated about it), smtp (address, port), users, start(), settled(count), stored(),
pids(), stop(). Both take mail for user0 ... userN at bench.test.
"""
import imaplib
import os
import pathlib
import pwd
import shutil
import socket
import ssl
import subprocess
import time

DOMAIN, ADDRESS, PASSWORD = "bench.test", "127.0.0.1", "kornblume-7731"
WAIT_S = 60
IMAP_BATCH_S = 0.02


class Failed(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        with socket.create_connection((ADDRESS, port), 0.2) as probe:
            probe.settimeout(1)
            return probe.recv(4) != b""
    except OSError:
        return False


def wait_for(condition, what, timeout_s=WAIT_S, pause_s=0.05):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause_s)
    raise Failed(f"waited {timeout_s} s in vain for {what}")


def run(*words, **kwargs):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        raise Failed(f"{words[0]} {words[1]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def package_version(name):
    return run("dpkg-query", "-W", "-f", "${Version}", name)


class Readers:
    """One IMAP session a user, kept; together they tell how many messages the mailboxes hold."""

    def __init__(self, users, port, with_tls):
        context = ssl._create_unverified_context()          # a certificate made a moment ago, on loopback
        self.sessions = []
        for user in users:
            session = imaplib.IMAP4(ADDRESS, port)
            if with_tls:
                session.starttls(context)
            session.login(user, PASSWORD)
            self.sessions.append(session)

    def count(self):
        total = 0
        for session in self.sessions:
            kind, rows = session.status("INBOX", "(MESSAGES)")
            if kind != "OK":
                raise Failed(f"STATUS: {rows}")
            total += int(rows[0].rsplit(b"MESSAGES ", 1)[1].rstrip(b")"))
        return total

    def look(self, bytes_min):
        """The last message of the first mailbox, fetched: it is whole."""
        session = self.sessions[0]
        session.select("INBOX", readonly=True)
        kind, rows = session.fetch("*", "(RFC822.SIZE BODY.PEEK[])")
        text = rows[0][1] if kind == "OK" and rows and rows[0] else b""
        if len(text) < bytes_min or b"\r\n\r\n" not in text or b"Subject: a message of" not in text:
            raise Failed(f"the last message does not look as it was sent: {len(text)} bytes")

    def close(self):
        for session in self.sessions:
            try:
                session.logout()
            except (OSError, imaplib.IMAP4.error):
                pass


class Thurn:
    name = "Thurn"

    def __init__(self, folder, program, users):
        self.folder, self.program = folder, program
        self.users = [f"user{number}@{DOMAIN}" for number in range(users)]
        folder.mkdir()
        offset = self.free_offset()
        self.smtp, self.imap = (ADDRESS, 25 + offset), 143 + offset
        self.config = folder / "thurn.yaml"
        run(program, "setup", "--prefix", folder, "--listen", ADDRESS, "--port-offset", offset, "--domain", DOMAIN, f"mail.{DOMAIN}")
        self.settings = (f"{run(program, 'version').strip()}, the configuration that `thurn setup --prefix` writes, unchanged "
                         "(roles as the user who started it, one edge a processor); one fdatasync a batch before the 250s of that batch")

    @staticmethod
    def free_offset():
        for offset in range(11000, 60000, 1000):
            try:
                for port in (25, 587, 465, 143, 993, 110, 995):
                    with socket.socket() as probe:
                        probe.bind((ADDRESS, port + offset))
                return offset
            except OSError:
                continue
        raise Failed("no free ports on 127.0.0.1")

    def thurn(self, *words, **kwargs):
        return run(self.program, *words, env={**os.environ, "THURN_CONFIG": str(self.config)}, **kwargs)

    def start(self):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([self.program, "serve", "--config", self.config], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        wait_for(self.is_ready, "Thurn to be ready")
        for user in self.users:
            self.thurn("account", "add", user, input=PASSWORD + "\n")
        self.readers = Readers(self.users, self.imap, True)

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failed(f"Thurn ended at its start: {(self.folder / 'log').read_text().strip()[-500:]}")
        try:
            self.thurn("status")
            return True
        except Failed:
            return False

    def settled(self):
        return True                     # 250 says that it is in the mailbox; stored() looks whether that is so

    def stored(self):
        return self.readers.count()

    def pids(self):
        return [self.process.pid]

    def stop(self):
        if hasattr(self, "readers"):
            self.readers.close()
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = {address}
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = hash:{folder}/mailboxes
virtual_transport = lmtp:unix:{lmtp}
smtpd_banner = mail.{domain} ESMTP
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
"""

DOVECOT = """\
base_dir = {run}
instance_name = bench
log_path = {folder}/log
protocols = imap lmtp
listen = {address}
ssl = no
disable_plaintext_auth = no
mail_location = {location}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
state_dir = {folder}/state
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    address = {address}
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {lmtp} {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class PostfixDovecot:
    name = "Postfix + Dovecot"

    def __init__(self, folder, users, location):
        self.folder = folder
        self.users = [f"user{number}@{DOMAIN}" for number in range(users)]
        self.smtp, self.imap = (ADDRESS, free_port()), free_port()
        owner = pwd.getpwnam("mail")
        self.queue, self.dovecot = folder / "queue", folder / "dovecot"
        for path in (folder, folder / "data", self.queue, self.dovecot, self.dovecot / "mail", self.dovecot / "state"):
            path.mkdir()
        os.chown(self.dovecot / "mail", owner.pw_uid, owner.pw_gid)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        lmtp = self.dovecot / "lmtp"
        facts = {"folder": folder, "queue": self.queue, "data": folder / "data", "domain": DOMAIN, "address": ADDRESS, "lmtp": lmtp,
                 "port": self.imap, "uid": owner.pw_uid, "gid": owner.pw_gid, "password": PASSWORD, "run": self.dovecot / "run",
                 "mail": self.dovecot / "mail", "location": location}
        self.write_postfix(facts)
        (self.dovecot / "dovecot.conf").write_text(DOVECOT.format(**{**facts, "folder": self.dovecot}))
        fsync = run("doveconf", "-c", self.dovecot / "dovecot.conf", "-h", "mail_fsync").strip()
        concurrency = run("postconf", "-c", folder, "-h", "default_destination_concurrency_limit").strip()
        processes = run("postconf", "-c", folder, "-h", "default_process_limit").strip()
        self.settings = (f"Postfix {package_version('postfix')}: defaults (the queue file is synced before the 250; at most {processes} smtpd, "
                         f"{concurrency} LMTP deliveries at once), delivering by LMTP over a UNIX socket to Dovecot {package_version('dovecot-core')}: "
                         f"defaults (mail_fsync = {fsync}), mail_location = {location.split(':')[0]}; both log to files of their own")

    def write_postfix(self, facts):
        folder = self.folder
        (folder / "main.cf").write_text(POSTFIX_MAIN.format(**facts))
        master = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines()
        rows = [row for row in master if not row.startswith("smtp      inet")]
        # Debian's own table of services, none of them in a chroot (the LMTP socket is outside of it), smtpd on our port.
        rows = [row.replace("  y       ", "  n       ") if row[:1].isalpha() else row for row in rows]
        rows.append(f"{self.smtp[1]} inet n - n - - smtpd")
        if not any(row.startswith("postlog ") for row in rows):
            rows.append("postlog unix-dgram n - n - 1 postlogd")
        (folder / "master.cf").write_text("\n".join(rows) + "\n")
        (folder / "mailboxes").write_text("".join(f"{user} here\n" for user in self.users))
        for name in ("dynamicmaps.cf", "postfix-files"):
            if (pathlib.Path("/etc/postfix") / name).exists():
                shutil.copy(pathlib.Path("/etc/postfix") / name, folder / name)
        run("postmap", "-c", folder, f"hash:{folder}/mailboxes")

    def start(self):
        self.dovecot_log = open(self.folder / "dovecot-output", "wb")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.dovecot / "dovecot.conf"], stdin=subprocess.DEVNULL,
                                        stdout=self.dovecot_log, stderr=self.dovecot_log, start_new_session=True)
        wait_for(self.dovecot_is_ready, "Dovecot to be ready")
        run("postfix", "-c", self.folder, "start")
        wait_for(lambda: answers(self.smtp[1]), "Postfix to be ready")
        self.readers = Readers(self.users, self.imap, False)

    def dovecot_is_ready(self):
        if self.process.poll() is not None:
            said = (self.folder / "dovecot-output").read_text() + (self.dovecot / "log").read_text()
            raise Failed(f"Dovecot ended at its start: {said[-500:]}")
        return answers(self.imap) and (self.dovecot / "lmtp").exists()

    def settled(self):
        """Nothing waits in the queue: everything has been handed to Dovecot, or would be counted as missing."""
        for name in ("maildrop", "incoming", "active"):
            with os.scandir(self.queue / name) as entries:
                if next(entries, None) is not None:
                    return False
        return True

    def stored(self):
        return self.readers.count()

    def pids(self):
        return [int((self.queue / "pid/master.pid").read_text()), self.process.pid]

    def stop(self):
        if hasattr(self, "readers"):
            self.readers.close()
        subprocess.run(["postfix", "-c", self.folder, "stop"], capture_output=True, check=False)
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
