"""Changes a database whose pages carry checksums (src/os/sealed.h) behind the server's back, as if it had been so written.

    sealed.edit(path, sql)          one statement; how many rows it changed
    python3 sealed.py PATH SQL      the same
"""
import contextlib
import sqlite3
import struct
import sys

PAGE, SEAL = 4096, 8


def crc32c(data, table=[]):
    if not table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
            table.append(byte)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def edit(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        changed = db.execute(sql).rowcount
    with open(path, "r+b") as file:
        pages = file.read()
        for at in range(0, len(pages) if pages[20] == SEAL else 0, PAGE):
            file.seek(at + PAGE - SEAL)
            file.write(b"TPS1" + struct.pack("<I", crc32c(pages[at:at + PAGE - SEAL])))
    return changed


if __name__ == "__main__":
    edit(*sys.argv[1:3])
