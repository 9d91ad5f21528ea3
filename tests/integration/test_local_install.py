"""The installer on a machine that lacks things: stand-ins on PATH take the place of the system's programs."""

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.stack import ROOT

# what every Debian has; java, mvn, sudo and python3 are not among them
ESSENTIAL = ["sh", "cat", "cut", "dirname", "env", "flock", "head", "mkdir", "rm", "sed", "sha256sum", "stat"]
ESSENTIAL += ["tail", "touch", "tr", "true", "ls", "mv", "getent"]
APT = """echo "apt-get $*" >>"$CALLS"
case "$*" in *--no-install-recommends*) echo "E: no such package"; exit 100 ;; esac"""


@dataclass(frozen=True)
class Machine:
    """A clone and the programs that its installer finds."""

    clone: Path
    programs: Path

    def provide(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def install(self, kind: str = "run") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "deploy/local/install.sh", kind],
            cwd=self.clone,
            env={"PATH": str(self.programs), "CALLS": str(self.calls_file)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def calls_file(self) -> Path:
        return self.clone / "calls"

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Debian with nothing installed, below a folder with a space in its name."""
    clone, programs = tmp_path / "a clone", tmp_path / "bin"
    (clone / "deploy/local").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/local/install.sh", clone / "deploy/local")
    programs.mkdir()
    for name in ESSENTIAL:
        found = shutil.which(name)
        assert found is not None, name
        (programs / name).symlink_to(found)
    machine = Machine(clone, programs)
    machine.provide("dpkg-query", "exit 1")
    machine.provide("dpkg", 'echo "dpkg $*" >>"$CALLS"')
    machine.provide("apt-get", APT)
    return machine


def test_who_may_not_install_is_told_everything_at_once(machine: Machine) -> None:
    """One message with all packages and the command, and nothing else is tried."""
    machine.provide("id", "echo 1000")
    result = machine.install()
    assert result.returncode == 1
    assert result.stdout == ""
    for package in (
        "default-jre-headless",
        "maven",
        "fonts-dejavu-core",
        "fonts-noto-cjk",
        "ca-certificates",
    ):
        assert result.stderr.count(package) == 2
    assert "sudo apt-get install --no-install-recommends" in result.stderr
    assert machine.calls() == []


def test_sudo_that_asks_for_a_password_is_not_used(machine: Machine) -> None:
    """Nobody may be there to type it."""
    machine.provide("id", "echo 1000")
    machine.provide("sudo", '[ "$1" = -n ] && exit 1; echo "sudo $*" >>"$CALLS"')
    assert machine.install().returncode == 1
    assert machine.calls() == []


@pytest.mark.parametrize("user", ["root", "sudo"])
def test_who_may_install_gets_the_packages(machine: Machine, user: str) -> None:
    """An interrupted apt is mended first; a failing one ends the run with the end of its output."""
    machine.provide("id", "echo 0" if user == "root" else "echo 1000")
    if user == "sudo":
        machine.provide("sudo", 'shift; exec "$@"')
    result = machine.install()
    assert result.returncode == 1
    assert "installing system packages: " in result.stdout
    assert "E: no such package" in result.stderr
    configured, updated, mended, installed = machine.calls()
    assert configured == "dpkg --configure -a"
    assert updated.endswith(" update")
    assert mended.endswith(" install --fix-broken")
    assert "install --no-install-recommends default-jre-headless maven" in installed


def test_an_interrupted_apt_is_mended_though_every_program_is_there(machine: Machine) -> None:
    """A program that was unpacked but not set up may fail in odd ways later."""
    machine.provide("id", "echo 0")
    machine.install()
    machine.calls_file.unlink()
    machine.provide("java", """echo 'openjdk version "17.0.2" 2022-01-15' >&2""")
    machine.provide("mvn", "true")
    machine.provide("dpkg-query", "printf installed")
    machine.install()
    assert machine.calls()[0] == "dpkg --configure -a"


def test_an_old_java_does_not_count(machine: Machine) -> None:
    """Kafka needs 17."""
    machine.provide("id", "echo 1000")
    machine.provide("java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    assert "default-jre-headless" in machine.install().stderr
    machine.provide("java", """echo 'openjdk version "17.0.2" 2022-01-15' >&2""")
    assert "default-jre-headless" not in machine.install().stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_named(machine: Machine) -> None:
    """A first run as root leaves a folder that an ordinary user cannot write."""
    (machine.clone / ".local").mkdir(mode=0o500)
    result = machine.install()
    assert result.returncode == 1
    assert ".local belongs to" in result.stderr
