"""Entries of API keys, the file of them and its changes, and the command that edits it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from clock import Clock
from ml_api import keys
from ml_api.cli.main import main
from ml_api.keys import Key, KeyRing, KeysError, new_key, parse_variable, read_file

FOLDER = Path(__file__).parents[1]
NO_SCOPE = " is no scope of a key; they are predict, read, outcomes, metrics, separated by commas"
DIGEST = sha256(b"secret").hexdigest()


def test_new_key_has_256_random_bits_and_only_its_digest_is_in_the_entry() -> None:
    secret, key = new_key("house-app", ("predict", "read"))
    assert secret.startswith("mlapi_")
    assert len(secret) == len("mlapi_") + 43  # 256 bits in base64
    assert str(key) == f"house-app:predict,read:{sha256(secret.encode()).hexdigest()}"
    assert new_key("house-app", ("predict",))[0] != secret


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canary", "API_KEYS, entry 1 is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it"),
        ("a:read:canary", "API_KEYS, entry 1 is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it"),
        (f"a:read:{DIGEST.upper()}", "API_KEYS, entry 1 is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it"),
        (
            f"a:read,write:{DIGEST}",
            f"API_KEYS, entry 1: 'write'{NO_SCOPE}",
        ),
        (f"a::{DIGEST}", f"API_KEYS, entry 1: ''{NO_SCOPE}"),
        (
            f"a/b:read:{DIGEST}",
            "API_KEYS, entry 1: 'a/b' is no name of a key; it must be 1 to 64 letters, digits and any of ._-",
        ),
        (f"a:read:{DIGEST} b:read:{DIGEST}", "API_KEYS, entry 2: the key of b is there twice, also as that of a"),
    ],
)
def test_bad_entry_is_named_and_not_quoted(text: str, message: str) -> None:
    with pytest.raises(KeysError) as caught:
        parse_variable(text)
    assert str(caught.value) == message


def test_file_may_have_comments_and_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# callers\n\nhouse-app:predict:{DIGEST} # the app\n")
    assert read_file(path) == (Key("house-app", ("predict",), DIGEST),)
    path.write_text("# callers\nx\n")
    with pytest.raises(KeysError, match=f"^{path}, line 2 is not NAME:SCOPES:SHA256"):
        read_file(path)
    with pytest.raises(KeysError, match=rf"^{tmp_path / 'none'} \(API_KEYS_FILE\): No such file or directory$"):
        read_file(tmp_path / "none")


def test_keys_of_one_name_are_all_found_and_others_are_not() -> None:
    entries = [new_key("house-app", ("read",)) for _ in range(2)]
    ring = KeyRing(None, tuple(key for _, key in entries))
    assert [ring.find(secret) for secret, _ in entries] == [key for _, key in entries]
    assert ring.find("mlapi_") is None
    assert ring.find("\udcff\u20ac") is None


def test_comparison_does_not_end_at_the_first_match(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("ml_api.keys.hmac.compare_digest", compare)
    secret, key = new_key("a", ("read",))
    ring = KeyRing(None, (key, new_key("b", ("read",))[1], new_key("c", ("read",))[1]))
    assert ring.find(secret) == key
    assert len(compared) == 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(100.0)
    monkeypatch.setattr(keys, "time", clock)
    return clock


def test_changed_file_is_read_again_within_five_seconds(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secret, key = new_key("house-app", ("read",))
    path.write_text(f"{key}\n")
    ring = KeyRing(path)
    assert ring.find(secret) == key
    main(["keys", "revoke", "house-app", "--file", str(path)])
    clock.now += 5
    assert ring.find(secret) is None
    path.write_text(f"{key}\n")
    clock.now += 5
    assert ring.find(secret) == key


@pytest.mark.parametrize("damage", ["nonsense", None])
def test_file_that_becomes_invalid_leaves_the_keys_and_is_told_once(
    clock: Clock, tmp_path: Path, log: list[dict[str, Any]], damage: str | None
) -> None:
    path = tmp_path / "keys"
    secret, key = new_key("house-app", ("read",))
    path.write_text(f"{key}\n")
    ring = KeyRing(path)
    assert ring.find(secret) == key
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    for _ in range(3):
        clock.now += 5
        assert ring.find(secret) == key
    assert [line["message"] for line in log] == ["API keys were not read again"]
    assert log[0]["reason"].startswith(str(path))


def test_command_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    file = ["--file", str(path)]
    secrets = []
    for name, scopes in (("house-app", "predict"), ("house-app", "predict"), ("prometheus", "metrics")):
        assert main(["keys", "new", name, "--scopes", scopes, *file]) == 0
        secrets.append(capsys.readouterr().out.strip())
    ring = KeyRing(path)
    found = [ring.find(secret) for secret in secrets]
    assert [key and (key.name, key.scopes) for key in found] == [
        ("house-app", ("predict",)),
        ("house-app", ("predict",)),
        ("prometheus", ("metrics",)),
    ]
    assert not any(secret in path.read_text() for secret in secrets)
    assert main(["keys", "list", *file]) == 0
    ids = [key.id for key in found if key]
    assert capsys.readouterr().out.splitlines() == [
        f"house-app   {ids[0]}  predict",
        f"house-app   {ids[1]}  predict",
        f"prometheus  {ids[2]}  metrics",
    ]
    assert main(["keys", "revoke", "house-app", "--id", ids[0], *file]) == 0
    assert capsys.readouterr().out == f"Revoked the key {ids[0]} of house-app.\n"
    assert [key.id for key in read_file(path)] == ids[1:]
    assert main(["keys", "revoke", "house-app", "--id", ids[0], *file]) == 1
    assert capsys.readouterr().err == (
        f"ml-api: {path} has no key house-app {ids[0]}; it has: house-app {ids[1]}, prometheus {ids[2]}\n"
    )


def test_command_keeps_comments_and_the_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# callers\nold:read:{DIGEST}  # leaves in May\n")
    path.chmod(0o600)
    main(["keys", "new", "new", "--file", str(path)])
    assert path.read_text().startswith(f"# callers\nold:read:{DIGEST}  # leaves in May\nnew:predict,read:")
    main(["keys", "revoke", "old", "--file", str(path)])
    assert path.read_text().startswith("# callers\nnew:predict,read:")
    assert path.stat().st_mode & 0o777 == 0o600


def test_command_without_a_file_prints_the_entry_of_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "house-app"]) == 0
    out, err = capsys.readouterr()
    start = "Add this to the variable API_KEYS of the server: "
    assert err.startswith(start)
    (key,) = parse_variable(err.removeprefix(start))
    assert KeyRing(None, (key,)).find(out.strip()) == key
    assert main(["keys", "list"]) == 1
    assert capsys.readouterr().err == (
        "ml-api: there is no file of keys; name it with --file or the variable API_KEYS_FILE\n"
    )


def test_command_leaves_an_invalid_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    path.write_text("nonsense\n")
    assert main(["keys", "new", "a", "--file", str(path)]) == 1
    assert capsys.readouterr() == (
        "",
        f"ml-api: {path}, line 1 is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it\n",
    )
    assert path.read_text() == "nonsense\n"
    assert main(["keys", "new", "a", "--file", str(tmp_path / "no" / "keys")]) == 1
    assert capsys.readouterr().err == f"ml-api: {tmp_path / 'no'}: No such file or directory\n"


def test_commands_at_the_same_time_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    environ = {**os.environ, "API_KEYS_FILE": str(path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "ml_api.cli", "keys", "new"]

    def make(number: int) -> None:
        subprocess.run([*command, f"caller-{number}"], cwd=FOLDER, env=environ, check=True, capture_output=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(12)))
    assert {key.name for key in read_file(path)} == {f"caller-{number}" for number in range(12)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]
