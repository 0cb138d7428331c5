"""Makes what is made from the protocol files: ``.venv/bin/python proto/generate.py``.

The result is checked in, so that building and installing need no compiler; a test makes it again and compares. It is
the client's Python modules, and for the gateway the tables of `rust_tables` and the compiled files that its reflection
service hands out. The modules hold the compiled descriptors and build the message classes with protobuf's public API, and not with the code
that `protoc` makes: that refuses every runtime older than the compiler, and so would decide for an application which
protobuf it uses. The stubs are `protoc`'s own.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
import textwrap
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, duration_pb2
from google.rpc import error_details_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
TARGET = ROOT.parent / "python" / "penstock" / "client" / "_proto"
GATEWAY = ROOT.parent / "rust_core" / "gateway" / "src" / "grpc" / "schema"
PACKAGE = "penstock/v1"
SERVED = (PACKAGE, "xai/api/v1", "grpc/health/v1", "grpc/reflection/v1", "grpc/reflection/v1alpha")
"""Packages that the gateway offers, and so describes."""
PYTHON_PACKAGE = "penstock.client._proto"
NOTICE = "Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."


def sources(package: str = PACKAGE) -> list[str]:
    """The protocol files of a package, by their names in `import` statements."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / package).glob("*.proto"))


def descriptors(package: str = PACKAGE, root: Path = ROOT) -> descriptor_pb2.FileDescriptorSet:
    """The compiled protocol files, what they import included, with their comments.

    Raises:
        SystemExit: They do not compile; the compiler has said why.
    """
    names = sorted(path.relative_to(root).as_posix() for path in (root / package).glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "set.binpb"
        _run(root, ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}", *names])
        return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


def generate(target: Path) -> None:
    """Writes the modules into ``target``, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "__init__.py").write_text(f'"""{NOTICE}"""\n')
    for file in descriptors().file:
        if file.package == PACKAGE.replace("/", "."):
            file.ClearField("source_code_info")
            (target / f"{_module(file.name)}.py").write_text(_source(file))
    with tempfile.TemporaryDirectory() as scratch:
        _run(ROOT, [f"--pyi_out={scratch}", *sources()])
        for path in (Path(scratch) / PACKAGE).iterdir():
            (target / path.name).write_text(_inside_our_package(path.read_text()))


def generate_gateway(target: Path) -> None:
    """Writes the gateway's tables and descriptors into ``target``."""
    (target / "tables.rs").write_text(gateway_tables(descriptors()))
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for package in SERVED:
        for file in descriptors(package).file:
            file.ClearField("source_code_info")
            # What a file imports comes before it, and comes only once.
            files.setdefault(file.name, file)
    for needed in (duration_pb2, error_details_pb2):
        # The details of errors, which travel as `google.protobuf.Any`: no file imports them.
        file = descriptor_pb2.FileDescriptorProto()
        needed.DESCRIPTOR.CopyToProto(file)
        files.setdefault(file.name, file)
    served = descriptor_pb2.FileDescriptorSet(file=files.values())
    (target / "descriptors.binpb").write_bytes(served.SerializeToString(deterministic=True))


def gateway_tables(compiled: descriptor_pb2.FileDescriptorSet) -> str:
    """The gateway's tables as source.

    Raises:
        ValueError: The files and the rules for them do not go together.
    """
    return str(_rust_tables().tables(compiled, NOTICE))


def _rust_tables() -> Any:
    """The module beside this one, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("penstock_proto_rust_tables", ROOT / "rust_tables.py")
    if spec is None or spec.loader is None:
        raise SystemExit("proto/rust_tables.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(root: Path, arguments: list[str]) -> None:
    well_known = files("grpc_tools") / "_proto"
    status = protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *arguments])
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")


def _module(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".proto") + "_pb2"


def _source(file: descriptor_pb2.FileDescriptorProto) -> str:
    """A module: imports that register what the file needs, its descriptor, its classes."""
    ours = sorted(_module(name) for name in file.dependency if name.startswith(PACKAGE))
    known = sorted(_module(name) for name in file.dependency if not name.startswith(PACKAGE))
    data = "\n".join(f"    {chunk!r}" for chunk in _chunks(file.SerializeToString(deterministic=True)))
    lines = [f'"""{NOTICE}"""', "", "from google.protobuf import descriptor_pool, message_factory"]
    if file.enum_type:
        lines.append("from google.protobuf.internal import enum_type_wrapper")
    lines += [f"from google.protobuf import {name} as _{name}" for name in known]
    lines += [f"from {PYTHON_PACKAGE} import {name} as _{name}" for name in ours]
    lines += ["", f"DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(\n{data}\n)", ""]
    for enum in file.enum_type:
        lines.append(f'{enum.name} = enum_type_wrapper.EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["{enum.name}"])')
        lines += [f"{value.name} = {value.number}" for value in enum.value]
    for message in file.message_type:
        lines.append(
            f'{message.name} = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["{message.name}"])'
        )
        lines.append(f"{message.name}.__module__ = __name__")
    return "\n".join(lines) + "\n"


def _chunks(data: bytes, size: int = 60) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _inside_our_package(text: str) -> str:
    """`protoc` imports by the protocol's package, which would be a second `penstock` to Python."""
    head = textwrap.dedent(f"# {NOTICE}\n")
    return head + re.sub(r"^from penstock\.v1 import ", f"from {PYTHON_PACKAGE} import ", text, flags=re.MULTILINE)


if __name__ == "__main__":
    generate(TARGET)
    generate_gateway(GATEWAY)
    sys.stdout.write(f"{len(sources())} protocol files\n")
