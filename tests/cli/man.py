#!/usr/bin/env python3
"""Holds the manual against the program: every subcommand has its page and stands in thurn(1), and no page has an error
that groff can see.

    man.py THURN PAGE...
"""
import pathlib
import re
import shutil
import subprocess
import sys

thurn, *pages = sys.argv[1:]
pages = {pathlib.Path(page).name: pathlib.Path(page).read_text() for page in pages}
failures = []

listed = subprocess.run([thurn, "help"], capture_output=True, text=True, check=True).stdout
for name in re.findall(r"^  ([a-z]+) ", listed, re.M):
    if f"thurn-{name}.1" not in pages:
        failures.append(f"thurn-{name}(1) is missing: add {name} to doc/meson.build")
    if f".B {name}\n" not in pages["thurn.1"]:
        failures.append(f"thurn(1) does not have {name}")
for name, text in pages.items():
    if not re.match(r'(\.\\".*\n)?\.TH (\S+) [15] ', text) or "\n.SH NAME\n" not in text:
        failures.append(f"{name} does not begin as a manual page does")
    if not shutil.which("groff"):
        sys.exit("groff is missing: tools/packages unit")
    said = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", "-b"], input=text, capture_output=True, text=True).stderr
    failures += [f"{name}: {line}" for line in said.splitlines()]

print("\n".join(failures), file=sys.stderr)
sys.exit(1 if failures else 0)
