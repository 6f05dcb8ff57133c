# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: tar archives, compressed, written the same every time and read with suspicion.

Format: OCI Image Format Specification 1.1, layer.md; pax/ustar as tarfile writes them.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.model import (
    LAYER_ZSTD,
    Descriptor,
)

# zlib's output is the same for the same level in every release that Debian and Ubuntu ship.
_LEVEL = 4
_CHUNK = 1 << 20
# gzip framing in zlib's windowBits notation.
_GZIP = 31
_END_OF_TAR = bytes(1024)
# tarfile skips a member by reading in pieces and does not notice the end: a header that promises an exabyte would
# keep it busy for ever. Reading so often at the end of the data is an error.
_MAX_ENDS = 64
# Holes cost no bytes in the archive, but time here.
_MAX_SPARSE = 1 << 32


# What tarfile raises for hostile input; the last two for numbers in pax headers that are none.
TAR_ERRORS = (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError)


class EndGuard:
    """A file for :mod:`tarfile` that does not let it read at the end for ever."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.ends = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        if not data:
            self.ends += 1
            if self.ends > _MAX_ENDS:
                raise EOFError("a header promises more than there is")
        return data


@dataclass(frozen=True)
class Member:
    """A regular file to be put into a layer. ``data`` is bytes, or a file to be copied."""

    path: str
    mode: int
    data: bytes | Path


class _Tee:
    """Hashes tar bytes, compresses them, and hands the result on."""

    def __init__(self) -> None:
        self.diff = hashlib.sha256()
        self.compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def feed(self, data: bytes) -> bytes:
        self.diff.update(data)
        return self.compressor.compress(data)


class LayerWriter:
    """Iterate over it for the compressed bytes; then ``diff_id`` is that of the tar archive inside."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.diff_id = ""

    def __iter__(self) -> Iterator[bytes]:
        tee = _Tee()
        made: set[str] = set()
        for member in self.members:
            name = member.path.strip("/")
            parts = name.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                directory = "/".join(parts[:depth])
                if directory not in made:
                    made.add(directory)
                    yield tee.feed(_tar_header(directory + "/", tarfile.DIRTYPE, 0o755, 0))
            yield from self._file(tee, name, member)
        yield tee.feed(_END_OF_TAR)
        yield tee.compressor.flush()
        self.diff_id = f"sha256:{tee.diff.hexdigest()}"

    def _file(self, tee: _Tee, name: str, member: Member) -> Iterator[bytes]:
        if isinstance(member.data, bytes):
            size = len(member.data)
            source: IO[bytes] = io.BytesIO(member.data)
        else:
            size = member.data.stat().st_size
            source = member.data.open("rb", buffering=0)
        yield tee.feed(_tar_header(name, tarfile.REGTYPE, member.mode, size))
        with source:
            left = size
            while left:
                chunk = source.read(min(_CHUNK, left))
                if not chunk:
                    raise VerifyError(f"{member.data!s} became shorter while it was being read",
                                      code="disk.source_changed")
                left -= len(chunk)
                yield tee.feed(chunk)
        yield tee.feed(bytes(-size % 512))


def _tar_header(name: str, kind: bytes, mode: int, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.mtime = kind, mode, size, 0
    return info.tobuf(tarfile.GNU_FORMAT)


class LayerReader(io.RawIOBase):
    """The tar archive inside a compressed blob, as a stream; :meth:`finish` verifies both digests.

    :param path: the blob
    :param descriptor: its digest, size and media type
    :param diff_id: digest of the tar archive; empty where unknown
    :raises VerifyError: ``blob.tampered``, ``layer.damaged``
    :raises HostError: ``host.tool`` when zstd is needed and missing
    """

    def __init__(self, path: Path, descriptor: Descriptor, diff_id: str) -> None:
        super().__init__()
        self.path = path
        self.digest = str(descriptor["digest"])
        self.diff_id = diff_id
        self.blob = hashlib.sha256()
        self.diff = hashlib.sha256()
        self.pending = memoryview(b"")
        self.helper: subprocess.Popen[bytes] | None = None
        self.chunks = self._chunks(str(descriptor.get("mediaType", "")))
        self.ends = 0

    def _chunks(self, media_type: str) -> Iterator[bytes]:
        if media_type.endswith(("+zstd", LAYER_ZSTD)):
            return self._zstd()
        with self.path.open("rb") as file:
            magic = file.read(4)
        # Some builders label gzip as plain tar and the reverse: the bytes decide, as containerd does it.
        if magic[:2] == b"\x1f\x8b":
            return self._gunzip()
        if magic == b"\x28\xb5\x2f\xfd":
            return self._zstd()
        return self._plain()

    def _plain(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                self.blob.update(chunk)
                yield chunk

    def _gunzip(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(_GZIP)
        try:
            for chunk in self._plain():
                rest = chunk
                while rest:
                    # RFC 1952, section 2.2: members may follow each other.
                    if engine.eof:
                        engine = zlib.decompressobj(_GZIP)
                    # Bounded output: a small blob must not blow up to gigabytes in memory.
                    data = engine.decompress(rest, _CHUNK)
                    yield data
                    rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            while not engine.eof and (data := engine.decompress(engine.unconsumed_tail, _CHUNK)):
                yield data
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if not engine.eof:
            raise self._damaged("it ends in the middle of its gzip stream")

    def _zstd(self) -> Iterator[bytes]:
        for _chunk in self._plain():
            continue
        try:
            helper = subprocess.Popen(["zstd", "-dcq", "--", str(self.path)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise HostError(f"the layer {self.digest} is compressed with zstd, which is not installed",
                            code="host.tool", hint="install the package zstd") from None
        self.helper = helper
        if helper.stdout is None:
            raise AssertionError
        while chunk := helper.stdout.read(_CHUNK):
            yield chunk
        if helper.wait() != 0:
            raise self._damaged("zstd cannot read it")

    def _damaged(self, why: str) -> VerifyError:
        return VerifyError(f"the layer {self.digest} is damaged: {why}", code="layer.damaged",
                           hint="remove the image and pull or build it again")

    def readable(self) -> bool:
        """A raw stream that can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes of the archive."""
        while not self.pending:
            chunk = next(self.chunks, None)
            if chunk is None:
                self.ends += 1
                if self.ends > _MAX_ENDS:
                    raise self._damaged("a header promises more than there is")
                return 0
            self.diff.update(chunk)
            self.pending = memoryview(chunk)
        count = min(len(buffer), len(self.pending))
        buffer[:count] = self.pending[:count]
        self.pending = self.pending[count:]
        return count

    def finish(self) -> None:
        """Read to the end and compare both digests."""
        for chunk in self.chunks:
            self.diff.update(chunk)
        checks = (("layer", self.digest, self.blob), ("contents of layer", self.diff_id, self.diff))
        for name, expected, found in checks:
            if expected and expected != f"sha256:{found.hexdigest()}":
                raise VerifyError(f"the {name} {expected} does not match its digest: it is sha256:"
                                  f"{found.hexdigest()}", code="blob.tampered",
                                  hint="remove the image and pull or build it again")

    def close(self) -> None:
        """Stop the helper where there is one."""
        if self.helper is not None:
            self.helper.kill()
            if self.helper.stdout is not None:
                self.helper.stdout.close()
            self.helper.wait()
            self.helper = None
        super().close()


def extract_file(reader: LayerReader, path: str, out: Path) -> bool:
    """Copy the regular file ``path`` of the archive to ``out``, sparse; False when it is not there.

    The archive is read to its end and verified; on any error ``out`` is the caller's to remove.
    """
    wanted = path.strip("/")
    found = False
    buffered = io.BufferedReader(reader, _CHUNK)
    try:
        with tarfile.open(fileobj=buffered, mode="r|") as archive:
            for member in archive:
                if member.name.strip("/").removeprefix("./") == wanted and member.isfile():
                    if member.issparse() and member.size > _MAX_SPARSE:
                        raise VerifyError(f"{path} in layer {reader.digest} is a sparse file of {member.size} bytes",
                                          code="layer.damaged")
                    source = archive.extractfile(member)
                    if source is None:
                        raise AssertionError
                    _copy_sparse(source, out)
                    found = True
    except TAR_ERRORS as error:
        raise VerifyError(f"the layer {reader.digest} is no tar archive: {error}", code="layer.damaged") from error
    reader.finish()
    return found


def _copy_sparse(source: IO[bytes], out: Path) -> None:
    with out.open("wb", buffering=0) as target:
        size = 0
        zeros = bytes(_CHUNK)
        while chunk := source.read(_CHUNK):
            if chunk == zeros:
                target.seek(len(chunk), io.SEEK_CUR)
            else:
                view = memoryview(chunk)
                while view:
                    view = view[target.write(view):]
            size += len(chunk)
        target.truncate(size)
