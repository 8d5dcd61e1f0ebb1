"""The variables with which workers import torch: waiting threads sleep, unless the user decides otherwise."""

import os

import pytest

from bench.executors.local import _WAITING, _threads


def test_threads_of_workers_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _WAITING:
        monkeypatch.delenv(name, raising=False)
    with _threads(2):
        assert {name: os.environ[name] for name in ("OMP_NUM_THREADS", *_WAITING)} == {
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "passive",
            "GOMP_SPINCOUNT": "1000",
            "KMP_BLOCKTIME": "1",
        }
    assert not set(_WAITING) & set(os.environ)


def test_what_the_user_set_decides_how_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with _threads(2):
        assert {name: os.environ.get(name) for name in _WAITING} == {
            "OMP_WAIT_POLICY": "active",
            "GOMP_SPINCOUNT": None,
            "KMP_BLOCKTIME": None,
        }
    assert os.environ["OMP_WAIT_POLICY"] == "active"
