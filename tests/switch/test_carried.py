"""What is carried beside the shop's tables: Aurora knows every answer that MySQL gave under an idempotency key."""

from __future__ import annotations

import datetime

import pytest

from tests.switch.conftest import Lab

pytestmark = pytest.mark.real

COLUMNS = "id, request, status, answer, at"
KEYS = [
    ("a~!", "f" * 64, 201, '{"note":"Quà 🎁"}', datetime.datetime(2026, 11, 28, 1, 2, 3, 456789)),
    ("A~!", "0" * 64, 404, "", datetime.datetime(2026, 11, 28)),
]


def test_answers_to_keys_travel_and_expire(lab: Lab) -> None:
    for row in KEYS:
        lab.mysql(f"INSERT INTO zdm.idempotency ({COLUMNS}) VALUES (%s, %s, %s, %s, %s)", *row)
    lab.settle()
    assert sorted(lab.postgres(f"SELECT {COLUMNS} FROM zdm.idempotency")) == sorted(KEYS)
    lab.mysql("DELETE FROM zdm.idempotency WHERE id = %s", KEYS[0][0])
    lab.settle()
    assert lab.postgres(f"SELECT {COLUMNS} FROM zdm.idempotency") == KEYS[1:]
    lab.mysql("DELETE FROM zdm.idempotency")
    lab.settle()
    assert lab.postgres("SELECT 1 FROM zdm.idempotency") == []
