"""A climb from the command line, on models that the test makes, in real worker processes."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.models.small_models import write_model
from topout.records import Climb, read

pytestmark = pytest.mark.seconds(150)

TEXT = Path(__file__).parent.parent.parent / "LICENSE"
FAULTY = "tests.rungs.faulty_rungs"
WAIT_S = 600.0  # for what takes seconds, on a machine however busy
SHORT = ["--threads", "1", "--prompt-len", "24", "--new-tokens", "12", "--quick"]
SHORT += ["--text", str(TEXT)]


def topout(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "topout", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def only_run(environment: dict[str, str]) -> Path:
    """The folder of the one climb of a test."""
    (folder,) = Path(environment["TOPOUT_HOME"]).iterdir()
    return folder


def rungs_by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Results under the last part of their names."""
    return {rung["name"].rpartition(":")[2]: rung for rung in record["rungs"]}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers in a folder."""
    return write_model(tmp_path_factory.mktemp("models") / "small")


def test_every_way_to_fail_ends_one_rung_and_no_other(
    small_model: Path, fresh_cache: Path, climb_environment: dict[str, str], tmp_path: Path
) -> None:
    """A crash, a kill, an allocation, an exception and a wrong output, in one climb.

    It is the first on its machine: ceilings and rates are measured before it.
    """
    names = ["Crash", "Killed", "OutOfMemory", "Raises", "WrongOutput", "Slow", "Fast"]
    rungs = ",".join(["static_cache", *(f"{FAULTY}:{name}" for name in names)])
    out = tmp_path / "out.json"
    done = topout(
        "climb", str(small_model), *SHORT, "--rungs", rungs,
        "--json", str(out), environment=climb_environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert len(record["ceilings"]["compute"]) > 2 and (fresh_cache / "ceilings").is_dir()
    found = rungs_by_name(record)
    statuses = {name: found[name]["status"] for name in names}
    assert statuses == {
        "Crash": "failed",
        "Killed": "failed",
        "OutOfMemory": "failed",
        "Raises": "failed",
        "WrongOutput": "rejected",
        "Slow": "rejected",
        "Fast": "kept",
    }
    assert "SIGSEGV" in found["Crash"]["reason"]
    assert "SIGKILL" in found["Killed"]["reason"] and "memory" in found["Killed"]["reason"]
    assert "memory" in found["OutOfMemory"]["reason"].lower()
    assert "the first line the second line" in found["Raises"]["reason"]
    assert "not right" in found["WrongOutput"]["reason"]
    assert found["WrongOutput"]["verification"]["passed"] is False
    assert found["WrongOutput"]["samples"] == []  # wrong: never timed
    assert found["Slow"]["reason"].startswith("Slower")
    assert found["transformers_eager"]["status"] == "kept"
    assert found["static_cache"]["verification"]["token_agreement"] == 1
    assert record["best"].endswith(":Fast")
    assert record["finished"] is True and record["findings"]
    folder = only_run(climb_environment)
    assert read(folder / "run.json", Climb).best == record["best"]
    assert "</html>" in (folder / "report.html").read_text()
    assert not (folder / "scratch").exists()
    assert "Fast" in done.stdout and "Crash" in done.stdout


def test_interrupted_climb_keeps_its_rungs_and_resumes(
    small_model: Path, climb_environment: dict[str, str]
) -> None:
    """SIGTERM while a rung hangs: exit 143, finished rungs on disk; the resumed climb goes on.

    There the rung hangs again, until its time is up, and one that does not apply to a batch of two
    is a row with its reason.
    """
    rungs = f"{FAULTY}:Fast,{FAULTY}:Hangs,speculate_lookup"
    climber = subprocess.Popen(
        [sys.executable, "-m", "topout", "climb", str(small_model), *SHORT,
         "--batch-size", "2", "--rungs", rungs],
        env=climb_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_for_rungs(climber, climb_environment, 2)
    climber.send_signal(signal.SIGTERM)
    shown, errors = climber.communicate(timeout=WAIT_S)
    assert climber.returncode == 143, errors
    assert "ended by SIGTERM" in errors and "--resume" in errors
    assert "Fast" in shown
    first, *more = errors.splitlines()
    assert re.match(r"transformers_eager: \d\S* tokens/s in decode", first), errors
    assert [line.split(":")[0] for line in more[:1]] == ["transformers_eager"]
    assert any(line.startswith(f"{FAULTY}:Fast: kept, ") for line in more), errors
    folder = only_run(climb_environment)
    before = read(folder / "run.json", Climb)
    assert not before.finished and [rung.status for rung in before.rungs] == ["kept", "kept"]

    request = json.loads((folder / "request.json").read_text())
    request["rung_timeout_s"] = 30.0
    (folder / "request.json").write_text(json.dumps(request))
    done = topout("climb", "--resume", str(folder), environment=climb_environment)
    own = f"--rungs {FAULTY}:Fast,{FAULTY}:Hangs"
    assert done.returncode == 2 and own in done.stderr and own in errors, done.stderr
    done = topout("climb", "--resume", str(folder), *own.split(), environment=climb_environment)
    assert done.returncode == 0, done.stderr
    after = read(folder / "run.json", Climb)
    assert after.finished
    assert after.rungs[:2] == before.rungs  # not measured again
    assert [rung.status for rung in after.rungs] == ["kept", "kept", "failed", "skipped"]
    assert "30 s" in after.rungs[2].reason
    assert "one sequence at a time" in after.rungs[3].reason
    assert after.best == f"{FAULTY}:Fast"


def wait_for_rungs(climber: "subprocess.Popen[str]", environment: dict[str, str], n: int) -> None:
    """Until n rungs are on disk, or the climb has ended without."""
    while climber.poll() is None:
        time.sleep(0.1)
        runs = list(Path(environment["TOPOUT_HOME"]).glob("*/run.json"))
        if runs and len(read(runs[0], Climb).rungs) == n:
            return
    raise AssertionError(climber.communicate()[1])


def test_sampled_speculation_is_verified_by_its_distribution(
    small_model: Path, climb_environment: dict[str, str], tmp_path: Path
) -> None:
    """At a temperature the lookup is held to the distribution, and json goes to stdout alone."""
    done = topout(
        "climb", str(small_model), *SHORT, "--rungs", "static_cache,speculate_lookup",
        "--temperature", "0.8", "--top-k", "20", "--json", "-", environment=climb_environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = rungs_by_name(json.loads(done.stdout))
    verification = found["speculate_lookup"]["verification"]
    assert verification["passed"] is True
    assert 1e-4 < verification["p_value"] <= 1
