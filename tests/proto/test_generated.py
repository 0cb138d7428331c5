"""What is generated and checked in is what the protocol files make."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from tests.proto.compiling import generator


def test_generating_again_gives_the_same(tmp_path: Path) -> None:
    module = generator()
    module.generate(tmp_path / "made")
    made = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    kept = {path.name: path.read_text() for path in module.TARGET.iterdir() if path.is_file()}
    assert len(made) > 20
    assert kept == made, "run proto/generate.py"


def test_the_gateways_tables_are_current(tmp_path: Path) -> None:
    module = generator()
    module.generate_gateway(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(made) == ["descriptors.binpb", "tables.rs"]
    kept = {name: (module.GATEWAY / name).read_bytes() for name in made}
    assert kept == made, "run proto/generate.py"


def test_the_gateway_describes_what_it_serves() -> None:
    served = descriptor_pb2.FileDescriptorSet.FromString((generator().GATEWAY / "descriptors.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in served.file:
        assert not file.HasField("source_code_info")
        # Fails when a file comes before what it imports.
        pool.AddSerializedFile(file.SerializeToString())
    services = {f"{file.package}.{service.name}" for file in served.file for service in file.service}
    assert {"penstock.v1.Chat", "xai_api.Chat", "grpc.health.v1.Health"} <= services
    states = pool.FindEnumTypeByName("grpc.health.v1.HealthCheckResponse.ServingStatus").values_by_name
    assert {name: value.number for name, value in states.items()} == {
        "UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3,
    }  # fmt: skip


def test_a_rule_without_its_field_is_refused() -> None:
    module = generator()
    compiled = module.descriptors()
    for file in compiled.file:
        for message in file.message_type:
            for field in message.field:
                if (message.name, field.name) == ("JsonSchema", "schema_json"):
                    field.name = "schema_text"
    with pytest.raises(ValueError, match="schema_json"):
        module.gateway_tables(compiled)
