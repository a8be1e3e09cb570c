"""Postfix and Exim as the server at the other end, both ways, with STARTTLS. Each runs from a folder of its own on a loopback
address and port of its own, as root; what else of them this machine may have is left alone."""
import hashlib
import os
import pathlib
import pwd
import random
import shutil
import subprocess
import unittest

import thurn
from talk import Talk, mails, submit
from test_smtp import parse, parts_of_report

TREE = pathlib.Path(__file__).resolve().parents[2]
EXIM = TREE / ".cache/exim4-daemon-light/usr/sbin/exim4"
HOME = "thurn.test"
SOUND = bytes(random.Random(1).randrange(256) for _ in range(200_000))


def letter(sender, recipient, subject, attachment=None):
    import email.message
    import email.policy
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, recipient, subject
    message["Date"], message["Message-ID"] = "Sun, 22 Nov 2026 08:00:00 +0000", f"<{hashlib.sha256(subject.encode()).hexdigest()[:16]}@test>"
    message.set_content("Zeile eins\n.Zeile zwei beginnt mit einem Punkt\n.\nGrüße\n")
    if attachment:
        message.add_attachment(attachment, maintype="audio", subtype="x-noise", filename="lärm.bin")
    return bytes(message)


def without_trace(message):
    """A message from its first header that its sender wrote."""
    return message[message.index(b"From: "):]


class Peer:
    """A server at 127.0.0.x for the domain `domain` with the mailbox paul, which it keeps as a Maildir."""

    def __init__(self, folder, domain, address, port, home, tls_of):
        self.folder = pathlib.Path(folder) / domain
        self.domain, self.address, self.port, self.home = domain, address, port, home
        self.certificate, self.key = tls_of.certificate, tls_of.key
        self.maildir = self.folder / "mail/paul"
        self.owner = pwd.getpwnam("mail")
        self.folder.mkdir()
        self.folder.parent.chmod(0o755)
        (self.folder / "mail").mkdir()
        os.chown(self.folder / "mail", self.owner.pw_uid, self.owner.pw_gid)

    def facts(self):
        return {"folder": self.folder, "domain": self.domain, "address": self.address, "port": self.port, "home": HOME, "uid": self.owner.pw_uid,
                "gid": self.owner.pw_gid, "home_address": self.home.address, "home_port": self.home.ports["smtp"],
                "certificate": self.certificate, "key": self.key}

    def answers(self):
        try:
            with Talk(self.address, self.port) as talk:
                return talk.reply().startswith("220")
        except (OSError, AttributeError):
            return False

    def mails(self):
        """Messages of the Maildir, CRLF."""
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(self.maildir.glob("new/*"))]

    def wait(self, condition, what):
        """Waits for something that this server has to do; when that is in vain, its log is part of the answer."""
        try:
            return thurn.wait_until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log of {self.name} ends:\n" + "\n".join(self.log().splitlines()[-30:])) from None

    def wait_mail(self, subject):
        return self.wait(lambda: [m for m in self.mails() if parse(m)["Subject"] == subject], f"{subject!r} in the Maildir of paul")[0]

    def send(self, recipient, subject, attachment=None, parameters="", rcpt=""):
        """Has a client of the peer's own send a letter by it."""
        text = letter(f"paul@{self.domain}", recipient, subject, attachment)
        with Talk(self.address, self.port) as talk:
            talk.greet()
            got = talk.mail(f"paul@{self.domain}", f"RCPT TO:<{recipient}>{rcpt}", text=b"\r\n".join(
                b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n")), parameters=parameters)
            assert got.startswith("250"), got
        return text


POSTFIX = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_bind_address = {address}
alias_maps =
transport_maps = inline:{{ {{ {home} = smtp:[{home_address}]:{home_port} }} }}
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = inline:{{ {{ paul@{domain} = paul/ }} }}
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = virtual
smtpd_tls_chain_files = {key}, {certificate}
smtpd_tls_security_level = may
smtp_tls_security_level = encrypt
smtpd_tls_received_header = yes
smtputf8_enable = yes
minimal_backoff_time = 1s
queue_run_delay = 1s
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
"""


class Postfix(Peer):
    name = "postfix"

    def start(self):
        (self.folder / "queue").mkdir()
        (self.folder / "data").mkdir()
        os.chown(self.folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        (self.folder / "main.cf").write_text(POSTFIX.format(**self.facts()))
        master = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines()
        rows = [row.replace("  y       ", "  n       ") if row[:1].isalpha() else row for row in master if not row.startswith("smtp      inet")]
        rows.append(f"{self.address}:{self.port} inet n - n - - smtpd")
        if not any(row.startswith("postlog ") for row in rows):
            rows.append("postlog unix-dgram n - n - 1 postlogd")
        (self.folder / "master.cf").write_text("\n".join(rows) + "\n")
        for name in ("dynamicmaps.cf", "postfix-files"):
            if (pathlib.Path("/etc/postfix") / name).exists():
                shutil.copy(pathlib.Path("/etc/postfix") / name, self.folder / name)
        self.wait(lambda: thurn.run("postfix", "-c", self.folder, "start", check=False).returncode == 0, "Postfix to start")
        self.wait(self.answers, "Postfix to answer")

    def stop(self):
        subprocess.run(["postfix", "-c", self.folder, "stop"], capture_output=True, check=False)

    def log(self):
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""


EXIM_CONFIG = """\
primary_hostname = mail.{domain}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
exim_path = {folder}/exim4
exim_user = mail
exim_group = mail
deliver_drop_privilege = true
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
local_interfaces = {address}
daemon_smtp_ports = {port}
domainlist local = {domain}
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {folder}/key.pem
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
acl_smtp_rcpt = check_rcpt
return_size_limit = 100K
begin acl
check_rcpt:
  require verify = recipient
  accept
begin routers
away:
  driver = manualroute
  domains = {home}
  transport = smtp
  route_data = {home_address}
  self = send
here:
  driver = accept
  domains = +local
  local_parts = paul
  transport = maildir
begin transports
smtp:
  driver = smtp
  port = {home_port}
  interface = {address}
  allow_localhost
  hosts_require_tls = *
  hosts_try_dane =
  dnssec_request_domains =
  tls_verify_certificates =
maildir:
  driver = appendfile
  directory = {folder}/mail/paul
  create_directory
  maildir_format
  return_path_add
  user = mail
  group = mail
begin retry
* * F,1h,1s
"""


class Exim(Peer):
    name = "exim"

    def start(self):
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, self.owner.pw_uid, self.owner.pw_gid)
        shutil.copy(self.key, self.folder / "key.pem")
        os.chown(self.folder / "key.pem", self.owner.pw_uid, self.owner.pw_gid)
        (self.folder / "key.pem").chmod(0o600)
        (self.folder / "exim.conf").write_text(EXIM_CONFIG.format(**self.facts()))
        (self.folder / "exim.conf").chmod(0o644)
        # Without its setuid bit: everything runs as one user, and the loader lets it be told of users.
        shutil.copyfile(EXIM, self.folder / "exim4")
        (self.folder / "exim4").chmod(0o755)
        # Debian's Exim insists on a user "Debian-exim", which only its installation makes.
        for file, row in (("passwd", "Debian-exim:x:64999:64999::/nonexistent:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:64999:\n")):
            (self.folder / file).write_text(pathlib.Path("/etc", file).read_text() + row)
        env = {**os.environ, "LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
               "NSS_WRAPPER_GROUP": str(self.folder / "group")}
        self.output = open(self.folder / "output", "wb")
        self.process = subprocess.Popen([self.folder / "exim4", "-C", self.folder / "exim.conf", "-bdf", "-q2s"], env=env, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output, start_new_session=True)
        thurn.wait_until(lambda: self.process.poll() is not None or self.answers(), "Exim to answer")
        assert self.process.poll() is None, (self.folder / "output").read_text()

    def stop(self):
        if hasattr(self, "process"):
            self.process.terminate()
            self.process.wait(thurn.TIMEOUT)
            self.output.close()

    def log(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("log/*"))) + (self.folder / "output").read_text()


class Both:
    """The same work with either."""
    peer_class = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest(f"{cls.peer_class.name} has to be started as root")
        if cls.peer_class is Exim and not EXIM.exists():
            raise AssertionError(f"{EXIM} is missing: tools/packages test brings it")
        domain = f"{cls.peer_class.name}.test"
        zones = {domain: ["@ MX 10 mail", "mail A 127.0.0.4"]}
        cls.network = thurn.Network(servers={HOME: "127.0.0.2"}, zones=zones, accounts=("alice",))
        cls.addClassCleanup(cls.network.close)
        cls.home = cls.network[HOME]
        cls.peer = cls.peer_class(cls.network.folder, domain, "127.0.0.4", cls.network.smtp_port, cls.home, cls.home)
        cls.addClassCleanup(cls.peer.stop)
        cls.peer.start()
        cls.paul = f"paul@{domain}"

    def wait_home(self, subject):
        def look():
            return [m for m in mails(self.home, "alice") if parse(m)["Subject"] == subject]
        return self.peer.wait(look, f"{subject!r} in the mailbox of alice")[0]

    def submit(self, recipient, subject, attachment=None, parameters="", rcpt=""):
        text = letter(f"alice@{HOME}", recipient, subject, attachment)
        dotted = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n"))
        return submit(self.home, "alice", [recipient], dotted, parameters, rcpt), text

    def wait_done(self, message_id):
        thurn.wait_until(lambda: not [e for e in self.home.queue() if e["id"] == message_id], f"{message_id} to leave the queue")
        return self.home.why(message_id)

    def test_from_us_to_it_with_starttls_byte_for_byte(self):
        message_id, text = self.submit(self.paul, "Grüße an Paul ✉", SOUND)
        got = self.peer.wait_mail("Grüße an Paul ✉")
        self.assertEqual(without_trace(got), text)
        attempt = self.wait_done(message_id)["events"][-1]
        self.assertTrue(attempt["tls"].startswith("TLSv1.3"), attempt)
        self.assertIn("esmtps", [h for h in parse(got).get_all("Received") if f"by mail.{self.peer.domain}" in h][0].lower())
        self.assertEqual(attempt["outcomes"][0]["code"], 250)

    def test_from_it_to_us_with_starttls_byte_for_byte(self):
        text = self.peer.send(f"alice@{HOME}", "Grüße an Alice ✉", SOUND)
        got = self.wait_home("Grüße an Alice ✉")
        self.assertEqual(without_trace(got), text)
        self.assertIn("ESMTPS", parse(got).get_all("Received")[0])
        self.assertEqual(parse(got)["Return-Path"], f"<{self.paul}>")
        accepted = [e for e in self.home.events("accepted") if e["from"] == self.paul and e["peer"] == "127.0.0.4"]
        self.assertTrue(accepted[-1]["tls"].startswith("TLSv1."), accepted)

    def test_an_unknown_mailbox_there_becomes_a_report_here(self):
        self.submit(f"nobody@{self.peer.domain}", "to nobody there")

        def look():
            return [m for m in mails(self.home, "alice") if b"to nobody there" in m]
        report = thurn.wait_until(look, "the report")[0]
        _, whole, (row,), _ = parts_of_report(report)
        self.assertEqual(whole["Reporting-MTA"], f"dns; mail.{HOME}")
        self.assertEqual(row["Remote-MTA"], f"dns; mail.{self.peer.domain}")
        self.assertTrue(row["Diagnostic-Code"].startswith("smtp; 550"), row)

    def test_an_unknown_mailbox_here_becomes_a_report_there(self):
        self.peer.send(f"nobody@{HOME}", "to nobody here")

        def look():
            return [m for m in self.peer.mails() if b"to nobody here" in m]
        report = parse(self.peer.wait(look, "the report")[0])
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertIn(b"5.1.1", bytes(report))

    def test_success_is_reported_both_ways(self):
        self.submit(self.paul, "success there", parameters=" ENVID=there", rcpt=f" NOTIFY=SUCCESS ORCPT=rfc822;{self.paul}")
        self.peer.wait_mail("success there")

        def look():
            return [m for m in mails(self.home, "alice") if b"success there" in m and parse(m).get_content_type() == "multipart/report"]
        report = self.peer.wait(look, "the report from there")[0]
        self.assertIn(b"delivered", report.lower())
        self.peer.send(f"alice@{HOME}", "success here", parameters=" ENVID=here", rcpt=f" NOTIFY=SUCCESS ORCPT=rfc822;alice@{HOME}")

        def look_there():
            return [m for m in self.peer.mails() if b"success here" in m and parse(m).get_content_type() == "multipart/report"]
        report = self.peer.wait(look_there, "our report there")[0]
        _, whole, (row,), _ = parts_of_report(report)
        self.assertEqual((whole["Reporting-MTA"], whole["Original-Envelope-Id"], row["Action"]), (f"dns; mail.{HOME}", "here", "delivered"))

    def test_eight_bits_in_the_body_and_utf8_in_the_header(self):
        text = f"From: alice@{HOME}\r\nTo: {self.paul}\r\nSubject: =?utf-8?q?achtbittig?=\r\nMIME-Version: 1.0\r\n" \
               "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSüß und groß\r\n"
        submit(self.home, "alice", [self.paul], text.encode(), " BODY=8BITMIME")
        self.assertIn("Süß und groß\r\n".encode(), self.peer.wait_mail("achtbittig"))

    def test_many_at_once_both_ways(self):
        for number in range(20):
            self.submit(self.paul, f"there {number}")
            self.peer.send(f"alice@{HOME}", f"here {number}")
        for number in range(20):
            self.peer.wait_mail(f"there {number}")
            self.wait_home(f"here {number}")
        subjects = [parse(m)["Subject"] for m in self.peer.mails()]
        self.assertEqual(len([s for s in subjects if s.startswith("there ")]), 20)
        subjects = [parse(m)["Subject"] for m in mails(self.home, "alice")]
        self.assertEqual(len([s for s in subjects if s.startswith("here ")]), 20)


class WithPostfix(Both, unittest.TestCase):
    peer_class = Postfix


class WithExim(Both, unittest.TestCase):
    peer_class = Exim


if __name__ == "__main__":
    unittest.main(verbosity=2)
