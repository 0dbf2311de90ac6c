"""A running network for the tests that ask one: that of `SILLOK_DEVNET_DIR`, or one of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent
if not (HERE / "generated").exists():
    subprocess.run([sys.executable, HERE / "build_protos.py"], check=True)


@dataclass(frozen=True)
class Scene:
    """DIDs of every sort on a running network, and where it is asked."""

    directory: Path
    genesis_hash: str
    node: str
    http: str
    network: str
    dids: dict[str, str]

    def environment(self) -> dict[str, str]:
        """What `sillok` reads from its environment to talk to this network."""
        told = run("sillok-devnet", "--dir", str(self.directory), "env")
        return os.environ | dict(re.findall(r'export (\w+)="([^"]*)"', told))

    def sillok(self, *arguments: str, exit_code: int = 0) -> Any:
        """Runs `sillok --json` as the registering authority, and reads what it prints."""
        home = str(self.directory / "python-home")
        command = ["sillok", "--json", "--home", home, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == exit_code, f"{command}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)


def run(*command: str) -> str:
    """A program of this repository, which must be on the path: `cargo build --workspace`."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a devnet that runs."""
    if given := os.environ.get("SILLOK_DEVNET_DIR"):
        yield Path(given)
        return
    directory = tmp_path_factory.mktemp("python") / "devnet"
    command = ["sillok-devnet", "--dir", str(directory), "up", "--validators", "4", "--until-eof"]
    # It stops and removes the network when its standard input is closed, however this ends.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert any("is up after" in line for line in keeper.stdout), "the network did not come up"
        yield directory
        keeper.stdin.close()


@pytest.fixture(scope="session")
def scene(devnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A DID of each sort, made on the network."""
    out = os.environ.get("SILLOK_SCENE_DIR")
    if out is None:
        out = str(tmp_path_factory.mktemp("fixtures"))
        run("sillok-devnet", "--dir", str(devnet), "fixtures", "--out", out)
    made = json.loads((Path(out) / "scene.json").read_text())
    return Scene(
        devnet, made["genesisHash"], made["grpc"], made["http"], made["network"], made["dids"]
    )
