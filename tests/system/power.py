"""What a disk may hold after the power went: images of a folder at any moment of a run that powercut.c has witnessed.

What was synced before the cut is there. Of what was not, any part may be: each sector of 512 bytes as it was at any time since the
last sync, in any order; sizes apart from contents; names apart from files, each folder's on its own (POSIX promises a name
only after a sync of its folder, and an unsynced file of that name may be empty). Sectors are written whole or not at all."""
import os
import pathlib
import stat
import struct

HEADER = struct.Struct("=IIiiqqIIII")
MAGIC = 0x54554352
OPEN, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, MKDIR, RMDIR, SYNC_BEGIN, SYNC_END = range(1, 11)
SECTOR = 512
ZEROS = 1


class Entry:
    """One record of the journal."""
    __slots__ = ("kind", "pid", "fd", "moment", "offset", "first", "second", "flags")

    def __init__(self, fields, first, second):
        _, self.kind, self.pid, self.fd, self.moment, self.offset, _, _, self.flags, _ = fields
        self.moment /= 1e9
        self.first, self.second = first, second


def read_journal(path):
    data = pathlib.Path(path).read_bytes()
    entries, at = [], 0
    while at < len(data):
        fields = HEADER.unpack_from(data, at)
        assert fields[0] == MAGIC, f"the journal is torn at byte {at} of {len(data)}"
        at += HEADER.size
        first = data[at:at + fields[6]]
        at += fields[6]
        if fields[8] & ZEROS and fields[1] == WRITE:
            entries.append(Entry(fields, None, fields[7]))
        else:
            entries.append(Entry(fields, first, data[at:at + fields[7]]))
            at += fields[7]
    return entries


def limits(entries):
    """For each place between two records: no answer that was received before this moment depends on anything behind it."""
    found, least = [0.0] * len(entries), float("inf")
    for number in range(len(entries) - 1, -1, -1):
        found[number] = least
        least = min(least, entries[number].moment)
    return found


class File:
    """Content on the medium, and what was changed since the last sync."""

    def __init__(self):
        self.content, self.size = bytearray(), 0            # on the medium; behind the content there are zeros up to the size
        self.pending, self.done = [], 0                     # changes not synced; how many were before them

    def put(self, change):
        self.pending.append(change)

    def mark(self):
        return self.done + len(self.pending)

    def settle(self, mark):
        count = max(0, mark - self.done)
        for change in self.pending[:count]:
            self.size = apply(self.content, self.size, change)
        del self.pending[:count]
        self.done += count

    def now(self):
        """As the program sees it."""
        content, size = bytearray(self.content), self.size
        for change in self.pending:
            size = apply(content, size, change)
        return content, size

    def after_cut(self, chance, keep):
        """What is on the medium when each unsynced sector of each write has come there with probability `keep`."""
        if not self.pending or keep == 0:
            return self.content, self.size
        content, size = bytearray(self.content), self.size
        seen = bytearray(self.content)                      # as the program saw it, change by change
        for change in self.pending:
            size = apply(seen, size, change)
            kind, offset, data = change
            if kind == TRUNCATE:
                if chance.random() < keep:
                    del content[offset:]
                continue
            if kind != WRITE:
                continue
            length = data if isinstance(data, int) else len(data)
            if len(content) < offset + length:
                content.extend(bytes(offset + length - len(content)))
            for start in range(offset - offset % SECTOR, offset + length, SECTOR):
                if keep == 1 or chance.random() < keep:
                    piece = seen[start:start + SECTOR]
                    content[start:start + len(piece)] = piece
        if keep < 1 and chance.random() < 0.5:
            size = self.size                                # the size was not written: what is behind is not seen
        return content[:size], size


def apply(content, size, change):
    kind, offset, data = change
    if kind == TRUNCATE:
        del content[offset:]
        return offset
    if kind == ALLOCATE:
        return max(size, offset)
    length = data if isinstance(data, int) else len(data)
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset:offset + length] = bytes(length) if isinstance(data, int) else data
    return max(size, offset + length)


class Folder:
    def __init__(self):
        self.names = {}                                     # on the medium
        self.current = {}
        self.pending, self.done = [], 0                     # (name or None, gone name or None, what)

    def mark(self):
        return self.done + len(self.pending)

    @staticmethod
    def change(names, change):
        name, gone, what = change
        if gone is not None and (what is None or names.get(gone) is what):
            names.pop(gone, None)
        if name is not None:
            names[name] = what

    def put(self, change):
        self.pending.append(change)
        self.change(self.current, change)

    def settle(self, mark):
        count = max(0, mark - self.done)
        for change in self.pending[:count]:
            self.change(self.names, change)
        del self.pending[:count]
        self.done += count

    def after_cut(self, chance, keep):
        names = dict(self.names)
        is_in_order = chance.random() < 0.5                 # as a journal would: up to one and none behind it
        for change in self.pending:
            if keep == 1 or chance.random() < keep:
                self.change(names, change)
            elif is_in_order:
                break
        return names


class Disk:
    """The folder `root` as the journal tells it, record by record. `deaf_to`: File or Folder, a disk that says
    that it has synced such and has not."""

    def __init__(self, root, deaf_to=()):
        self.root = str(root)
        self.top = Folder()
        self.open = {}                                      # (pid, descriptor): file or folder
        self.marks = {}                                     # of syncs that are under way
        self.deaf_to = deaf_to
        self.syncs = 0

    def find(self, path):
        """(folder, name) of a path; the root is (None, "")."""
        relative = path.decode()[len(self.root):].strip("/")
        if not relative:
            return None, ""
        folder, parts = self.top, relative.split("/")
        for part in parts[:-1]:
            folder = folder.current[part]
        return folder, parts[-1]

    def feed(self, entry):
        key, kind = (entry.pid, entry.fd), entry.kind
        if kind == OPEN:
            folder, name = self.find(entry.first)
            what = self.top if folder is None else folder.current.get(name)
            if what is None:
                assert entry.flags & os.O_CREAT, f"{entry.first} was there before the witness"
                what = File()
                folder.put((name, None, what))
            if entry.flags & os.O_TRUNC and isinstance(what, File):
                what.put((TRUNCATE, 0, None))
            self.open[key] = what
        elif kind == WRITE:
            self.open[key].put((WRITE, entry.offset, entry.second if entry.first is None else entry.first))
        elif kind in (TRUNCATE, ALLOCATE):
            self.open[key].put((kind, entry.offset, None))
        elif kind == RENAME:
            folder, name = self.find(entry.first)
            into, new = self.find(entry.second)
            assert folder is into, "a rename from one folder into another is not known here"
            folder.put((new, name, folder.current[name]))
        elif kind in (UNLINK, RMDIR):
            folder, name = self.find(entry.first)
            folder.put((None, name, None))
        elif kind == MKDIR:
            folder, name = self.find(entry.first)
            if folder is not None:
                folder.put((name, None, Folder()))
        elif kind == SYNC_BEGIN:
            self.marks[key] = self.open[key].mark()
        elif kind == SYNC_END and not isinstance(self.open[key], self.deaf_to):
            self.syncs += 1
            self.open[key].settle(self.marks[key])

    # ---- images ----------------------------------------------------------------------------------------------------

    def write_now(self, to):
        self._write(self.top, pathlib.Path(to), lambda folder: folder.current, lambda file: file.now())

    def cut(self, to, chance, keep):
        """The folder after a power cut, below `to`. keep: how much of the unsynced has come to the medium."""
        self._write(self.top, pathlib.Path(to), lambda folder: folder.after_cut(chance, keep), lambda file: file.after_cut(chance, keep))

    def _write(self, folder, to, names_of, content_of):
        to.mkdir(exist_ok=True)
        for name, what in names_of(folder).items():
            if isinstance(what, Folder):
                self._write(what, to / name, names_of, content_of)
                continue
            content, size = content_of(what)
            with open(to / name, "wb") as file:
                at = 0
                for at in range(0, len(content), 65536):    # holes stay holes
                    piece = content[at:at + 65536]
                    if piece.count(0) != len(piece):
                        file.seek(at)
                        file.write(piece)
                file.truncate(size)


def differences(one, other):
    """Paths at which two folders are not the same, names and contents; SQLite's shared memory apart, which is no truth."""
    def walk(folder):
        found = {}
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if not path.name.endswith("-shm"):
                found[str(path.relative_to(folder))] = path
        return found
    a, b = walk(one), walk(other)
    wrong = sorted(set(a) ^ set(b))
    for name in set(a) & set(b):
        if stat.S_IFMT(a[name].stat().st_mode) != stat.S_IFMT(b[name].stat().st_mode) or \
                (a[name].is_file() and a[name].read_bytes() != b[name].read_bytes()):
            wrong.append(name)
    return wrong
