"""A secret is resolved by reference, and is seen by nobody who does not ask for it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest

from lakeray.errors import ConfigError
from lakeray.security.secrets import Secret, resolve

VALUE = "correct-horse-battery"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("LAKERAY_TEST_SECRET", VALUE)
    return resolve("env:LAKERAY_TEST_SECRET")


def test_an_environment_variable_is_resolved(secret: Secret) -> None:
    assert secret.reveal() == VALUE.encode()
    assert secret.reference == "env:LAKERAY_TEST_SECRET"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"abc", b"abc"),
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b"abc\n\n", b"abc\n"),
        (b" a b ", b" a b "),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_one_trailing_newline_of_a_file_is_taken_off(tmp_path, content: bytes, value: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert resolve(f"file:{path}").reveal() == value


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKERAY_TEST_SECRET", raising=False)
    with pytest.raises(ConfigError, match="LAKERAY_TEST_SECRET is not set"):
        resolve("env:LAKERAY_TEST_SECRET")
    monkeypatch.setenv("LAKERAY_TEST_SECRET", "")
    with pytest.raises(ConfigError, match="is empty"):
        resolve("env:LAKERAY_TEST_SECRET")


def test_an_unreadable_file_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        resolve(f"file:{tmp_path}/absent")
    with pytest.raises(ConfigError, match="Is a directory"):
        resolve(f"file:{tmp_path}")
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(ConfigError, match="is empty"):
        resolve(f"file:{tmp_path}/empty")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(ConfigError, match="larger"):
        resolve(f"file:{tmp_path}/large")


@pytest.mark.parametrize("reference", [VALUE, "", "env:", "file:relative", f"vault:{VALUE}", f"{VALUE}:x"])
def test_what_is_no_reference_is_refused_without_repeating_it(reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(reference)
    assert VALUE not in str(caught.value)
    assert "env:NAME" in str(caught.value)


def test_no_text_of_a_secret_shows_it(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("%s %r %s", secret, secret, {"key": [secret]})
    texts = [str(secret), repr(secret), f"{secret}", f"{secret!r:>60}", f"{secret:>60}", "%s" % secret, caplog.text]  # noqa: UP031
    texts.append(json.dumps({"secret": secret}, default=str))
    texts.append(json.dumps({"secret": secret}, default=repr))
    texts += [
        str(getattr(secret, name)) for name in dir(secret) if name != "reveal" and not callable(getattr(secret, name))
    ]
    texts += [repr(secret._Secret__value)]
    for text in texts:
        assert VALUE not in text
    assert not hasattr(secret, "__dict__")


def test_a_traceback_with_local_variables_does_not_show_it(secret: Secret) -> None:
    def fails(key: Secret) -> None:
        raise RuntimeError(f"cannot use {key}")

    try:
        fails(secret)
    except RuntimeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "cannot use" in text
    assert VALUE not in text


def test_it_is_neither_pickled_nor_copied(secret: Secret) -> None:
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled") as caught:
            copied(secret)
        assert VALUE not in str(caught.value)
