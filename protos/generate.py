"""Write the protobuf modules of the pinned Envoy into `xds_server/envoy_api/`.

In: an `envoy` binary, which carries the serialised descriptors of its whole API. Out: one
`_pb2.py` and one `_pb2.pyi` a file, under the private prefix `xds_server.envoy_api`; the folder is
replaced as a whole, so nothing of an older Envoy stays. Refuses a binary whose descriptors import
a file that is not there or that nothing here generates, and then leaves the old folder alone.

Usage: python protos/generate.py ENVOY_BINARY [OUTPUT_DIR]
"""

from __future__ import annotations

import mmap
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_tools import protoc

PREFIX = "xds_server.envoy_api"
# Roots that are generated. All other `google/*` comes from protobuf and googleapis-common-protos.
ROOTS = ("envoy/", "xds/", "udpa/", "validate/", "cel/", "opentelemetry/", "io/prometheus/", "google/api/expr/")
_NAME = re.compile(rb"\x0a[\x05-\x7f]([a-z][a-z0-9_]*(?:/[A-Za-z0-9_.-]+)+\.proto)[\x12\x1a\x22]")
_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15})
_LAST_FIELD = 12  # `syntax`: the serialiser writes it last; a proto2 file has none


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _end_of_file_descriptor(data: bytes | mmap.mmap, start: int) -> int:
    """Index behind the FileDescriptorProto that starts at `start`; `start` if it is none."""
    at, last = start, 0
    while at < len(data) and last < _LAST_FIELD:
        tag, body = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number not in _FIELDS or number < last or wire_type not in (0, 2):
            break
        value, behind = _varint(data, body)
        at, last = behind + value if wire_type == 2 else behind, number
    return at


def _is_whole(descriptor: descriptor_pb2.FileDescriptorProto) -> bool:
    return bool(descriptor.package and (descriptor.message_type or descriptor.enum_type or descriptor.extension))


def read_descriptors(binary: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Every FileDescriptorProto found in the binary, by file name."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _NAME.finditer(data):
            start = match.start()
            raw = data[start : _end_of_file_descriptor(data, start)]
            try:
                descriptor = descriptor_pb2.FileDescriptorProto.FromString(raw)
            except DecodeError:
                continue
            if descriptor.name.encode() == match.group(1) and _is_whole(descriptor):
                found[descriptor.name] = descriptor
    missing = {need for file in found.values() for need in file.dependency} - set(found)
    if missing or not found:
        raise SystemExit(f"{binary}: {len(found)} descriptors, missing: {sorted(missing)}")
    return found


def _ordered(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """Dependencies before the files that import them, as a descriptor set must be."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[descriptor_pb2.FileDescriptorProto]:
        if name in done:
            return
        done.add(name)
        for dependency in files[name].dependency:
            yield from visit(dependency)
        yield files[name]

    for name in sorted(files):
        yield from visit(name)


def _rewrite_imports(text: str, roots: Iterable[str]) -> str:
    """Imports of generated packages get the private prefix; the rest stays."""
    packages = "|".join(sorted(re.escape(root.rstrip("/").replace("/", ".")) for root in roots))
    text = re.sub(rf"^from ((?:{packages})\b[\w.]*) import", rf"from {PREFIX}.\1 import", text, flags=re.MULTILINE)
    text = re.sub(rf"^import ((?:{packages})\.[\w.]+_pb2) as", rf"import {PREFIX}.\1 as", text, flags=re.MULTILINE)
    return text


def _write_packages(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


def _run_protoc(descriptor_set: Path, output: Path, names: Iterable[str]) -> None:
    arguments = ["protoc", f"--descriptor_set_in={descriptor_set}", f"--python_out={output}", f"--pyi_out={output}"]
    if code := protoc.main([*arguments, *names]):
        raise SystemExit(f"protoc ended with {code}")
    for path in [*output.rglob("*_pb2.py"), *output.rglob("*_pb2.pyi")]:
        path.write_text(_rewrite_imports(path.read_text(encoding="utf-8"), ROOTS), encoding="utf-8")
    _write_packages(output)


def generate(binary: Path, output: Path) -> int:
    """Write the modules; returns how many files were generated."""
    files = read_descriptors(binary)
    generated = sorted(name for name in files if name.startswith(ROOTS))
    foreign = {
        need for name in generated for need in files[name].dependency if not need.startswith((*ROOTS, "google/"))
    }
    if foreign:
        raise SystemExit(f"{binary}: the API imports files outside of ROOTS: {sorted(foreign)}")
    # Beside the output, not in the system's temporary folder: a rename must stay on one file system.
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        fresh, descriptor_set = Path(folder) / "fresh", Path(folder) / "set.binpb"
        fresh.mkdir()
        descriptor_set.write_bytes(descriptor_pb2.FileDescriptorSet(file=_ordered(files)).SerializeToString())
        _run_protoc(descriptor_set, fresh, generated)
        if output.exists():
            output.rename(Path(folder) / "old")
        fresh.rename(output)
    return len(generated)


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent.parent / "xds_server" / "envoy_api"
    print(f"{generate(Path(sys.argv[1]), target)} files of the Envoy API in {target}")
