"""One JSON line per record, and nothing that looks like a credential."""

import json
import logging

import pytest

from penstock.logs import JsonFormatter, redact


def test_a_record_is_one_json_line_with_its_fields() -> None:
    record = logging.makeLogRecord({"name": "penstock", "levelname": "INFO", "msg": "two\nlines %s", "args": ("x",)})
    record.call_id = "c1"
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["call_id"], fields["level"]) == ("two\nlines x", "c1", "info")


@pytest.mark.parametrize(
    "text",
    [
        "key sk-abcdefgh12345678",
        "Authorization: Bearer abcd.efgh",
        "sk-ant-api03-abcdefgh12345678",
        '{"api_key": "abcdefgh12345678"}',
        "api_key=abcdefgh12345678",
        "x-api-key: abcdefgh12345678",
    ],
)
def test_credentials_are_masked(text: str) -> None:
    assert "abcd" not in redact(text)
    assert "12345678" not in redact(text)


def test_other_text_is_kept() -> None:
    assert redact("disk-usage 12, risk-free, task-1") == "disk-usage 12, risk-free, task-1"
