"""Commands run where somebody has planted code: none of it runs.

Each planted file leaves a mark when it runs. The commands are real ones, in processes of their own,
with the least work that starts every kind of process that topout starts.
"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest
import torch

from tests.models.small_models import write_model
from tests.train.test_plan import a_plan
from tests.winner.climb_folders import climb_folder
from topout.errors import InputError, WeightsError
from topout.kernels.build import find_compiler
from topout.ladder.request import ClimbRequest
from topout.ladder.state import ClimbFolder
from topout.models.source import resolve_model
from topout.programs import child_environment, python_command
from topout.records import write
from topout.records.record import stamp
from topout.train.plan import DEFAULT_BUILDER
from topout.train.run_case import RANK_MODULE
from topout.verbs.climb import resume
from topout.winner.choice import choose
from topout.winner.request import LoadRequest
from topout.winner.saved import SavedModel

pytestmark = pytest.mark.seconds(120)

REPOSITORY = Path(__file__).parent.parent
SOURCES = str(REPOSITORY / "src")
ASTRAY = f":{SOURCES}"  # as `export PYTHONPATH=$PYTHONPATH:…` makes it where there was none
# Modules of Python, of the libraries and of a user that something here imports.
MODULES = (
    *("json", "random", "hashlib", "tempfile", "runpy", "subprocess", "ctypes", "socket"),
    *("lazy_loader", "msgspec", "click", "rich", "numpy", "psutil", "polars", "altair", "jinja2"),
    *("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "vl_convert"),
    *("cpuinfo", "pynvml", "kernels", "flash_attn", "accelerate", "triton"),
)
# What Python imports before anything else does, where PYTHONPATH has it do so.
FIRST = ("sitecustomize", "usercustomize")
SMALL = ("--threads", "1", "--prompt-len", "24", "--new-tokens", "12")
WAIT_S = 900.0


def mark(folder: Path, name: str) -> str:
    """Python source that leaves a mark in the folder."""
    return f"open({str(folder / name)!r}, 'w').close()\n"


class Planted:
    """A folder to stand in, full of modules and programs that leave a mark in another one."""

    def __init__(self, folder: Path) -> None:
        self.here, self.marks = folder / "here", folder / "marks"
        self.bin, self.home = folder / "bin", str(folder / "runs")
        for each in (self.here, self.marks, self.bin):
            each.mkdir()
        for name in MODULES:
            (self.here / f"{name}.py").write_text(mark(self.marks, name))
        for name in FIRST:
            begin = str(self.marks / f"{name}-")
            line = f"import os\nopen({begin!r} + str(os.getpid()), 'w').close()\n"
            (self.here / f"{name}.py").write_text(line)
        for name in ("g++", "c++", "cc1plus", "as", "ld", "lscpu", "objdump", "valgrind"):
            program = self.here / name
            program.write_text(f"#!/bin/sh\n: > '{self.marks}/{name}'\nexit 1\n")
            program.chmod(0o755)
        for name in ("cmath", "cstdint", "vector", "omp.h"):
            (self.here / name).write_text("#error planted\n")
        # What pip installs as the command.
        (self.bin / "topout").write_text("from topout.cli import main\nmain()\n")

    def run(self, *arguments: str, **environment: str) -> None:
        """`topout` here; asserts that it did what it was asked and that nothing planted ran."""
        self.python(str(self.bin / "topout"), *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> None:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.here,
            env={**os.environ, "PYTHONPATH": SOURCES, "TOPOUT_HOME": self.home, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, errors = process.communicate(timeout=WAIT_S)
        for name in FIRST:  # of the command itself, before any of its code runs
            (self.marks / f"{name}-{process.pid}").unlink(missing_ok=True)
        assert self.ran() == [], errors
        assert process.returncode == 0, errors

    def ran(self) -> list[str]:
        """What has left a mark."""
        return sorted(each.name for each in self.marks.iterdir())


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers that comes with code, as some models of the hub do."""
    folder = write_model(tmp_path_factory.mktemp("models") / "small")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "planted.Config", "AutoModelForCausalLM": "planted.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": classes}))
    (folder / "planted.py").write_text(mark(folder, "ran"))
    return folder


def test_the_planted_files_would_run(planted: Planted) -> None:
    """The check can fail: Python itself takes modules from where one stands."""
    with pytest.raises(AssertionError):
        planted.python("-c", "import json, torch")
    assert planted.ran() == ["json", "torch"]


# --- the current folder -------------------------------------------------------------------------


def test_a_climb(planted: Planted, model: Path) -> None:
    """The command, the calibration, the fork server, sessions and the model's own code."""
    text = ("--text", str(REPOSITORY / "LICENSE"), "--rungs", "static_cache,native_linear_int8")
    planted.run("climb", str(model), *SMALL, *text, "--quick", PYTHONPATH=ASTRAY)
    assert not (model / "ran").exists()


def test_a_run_and_a_text(planted: Planted, model: Path) -> None:
    planted.run("run", str(model), *SMALL, "--repeats", "1", PYTHONPATH=ASTRAY)
    planted.run("generate", "pycode-1m", "def f(", "--max-new-tokens", "2")


def test_ranks(planted: Planted) -> None:
    small = ("--generated", "--batch-size", "2", "--sequence-len", "8", "--threads", "1")
    planted.run("train", "pycode-1m", *small, "--ranks", "2", "--quick", PYTHONPATH=ASTRAY)


def test_the_plan_of_a_rank_names_no_code(tmp_path: Path) -> None:
    """It lies in the folder of the run, where a group may write."""
    (tmp_path / "planted_net.py").write_text(mark(tmp_path, "ran") + "build = None\n")
    plan = a_plan(builder="planted_net:build", output=str(tmp_path))
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(plan))

    def rank(builder: str) -> bool:
        command = python_command(RANK_MODULE, tmp_path / "plan.json", builder)
        done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True)
        assert done.returncode == 1  # there are no samples, or what was planted builds nothing
        return (tmp_path / "ran").exists()

    assert not rank(DEFAULT_BUILDER)
    assert rank(plan.builder)  # who starts the rank may name it: the check can fail


def test_a_matrix_product(planted: Planted, tmp_path: Path) -> None:
    """Its compiler, programs and workers, with paths that lead into the current folder."""
    planted.run(
        *("gemm", "--shape", "32x32x32", "--versions", "naive", "--quick", "--threads", "1"),
        TOPOUT_CACHE=str(tmp_path / "cache"),
        PATH=f".::{os.environ['PATH']}:",
        CPATH=":",
        LIBRARY_PATH=f":{tmp_path}",
        LD_LIBRARY_PATH=f"{tmp_path}:",
        TMPDIR=".",
        PYTHONPATH=ASTRAY,
    )


def test_what_imports_no_torch(planted: Planted) -> None:
    for arguments in (("machine", "list"), ("cost", "gpt2"), ("--version",)):
        planted.run(*arguments, PATH=f":{os.environ['PATH']}", PYTHONPATH=ASTRAY)
        planted.python("-m", "topout", *arguments, PATH=f".:{os.environ['PATH']}")


# --- a folder of a climb ------------------------------------------------------------------------


def test_a_folder_of_a_climb_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_rung.py").write_text(mark(tmp_path, "ran"))
    monkeypatch.chdir(tmp_path)
    folder = climb_folder(tmp_path / "climb")
    ClimbFolder(folder).save_request(ClimbRequest(rungs=["static_cache", "planted_rung:Rung"]))
    with pytest.raises(
        InputError,
        match=r"has planted_rung:Rung, which is code.*--resume \S+ --rungs planted_rung:Rung",
    ):
        resume(folder)
    with pytest.raises(InputError, match="has no others:Rung"):
        resume(folder, ["planted_rung:Rung", "others:Rung"])
    assert not (tmp_path / "ran").exists()


def test_a_saved_model_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_rung.py").write_text(mark(tmp_path, "ran"))
    monkeypatch.chdir(tmp_path)
    saved = SavedModel(
        **stamp(), model="m", fingerprint="0" * 64, stack="planted_rung:Rung", dtype="fp32"
    )
    write(saved, write_model(tmp_path / "saved") / "topout.json")
    with pytest.raises(InputError, match="holds planted_rung:Rung, which is code of your own"):
        choose(LoadRequest(model=str(tmp_path / "saved")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["run.json", "logs", "logs/fork-server.log"])
def test_a_resumed_climb_writes_through_no_link(place: str, tmp_path: Path) -> None:
    """Files that it writes to could be links to any file of whoever resumes it."""
    folder = climb_folder(tmp_path / "climb")
    (folder / "logs").mkdir()
    mine = tmp_path / "mine"
    mine.mkdir() if place == "logs" else mine.write_text("mine")
    link = folder / place
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(mine)
    with pytest.raises(InputError, match=f"{link} is a link, and a run would write"):
        resume(folder)
    assert mine.is_dir() or mine.read_text() == "mine"


# --- a model's folder ---------------------------------------------------------------------------


class Pickled:
    """Leaves a mark where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self._file), "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.pt"])
@pytest.mark.parametrize("save", [pickle.dump, torch.save])
def test_no_pickle_is_read_whatever_its_name(
    name: str, save: Callable[[object, BinaryIO], None], tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with (folder / name).open("wb") as file:
        save({"weights": Pickled(tmp_path / "ran")}, file)
    for given in (folder, folder / name):
        with pytest.raises(WeightsError):
            resolve_model(str(given))
    assert not (tmp_path / "ran").exists()
    with (folder / name).open("rb") as file:  # the check can fail
        torch.load(file, weights_only=False) if save is torch.save else pickle.load(file)
    assert (tmp_path / "ran").exists()


# --- a cache ------------------------------------------------------------------------------------

KERNEL = {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1, "dur": 2}
TRACE = {"traceEvents": [KERNEL | {"args": {"device": 0, "stream": 7}}]}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_cached_library_that_others_could_plant_is_not_loaded(
    planted: Planted, tmp_path: Path
) -> None:
    """Under a name that it could have, digest included."""
    cache, trace = tmp_path / "cache", tmp_path / "trace.json"
    trace.write_text(json.dumps(TRACE))
    planted.run("trace", str(trace), TOPOUT_CACHE=str(cache))
    (genuine,) = (cache / "kernels").glob("trace_scan-*.so")
    stem, content = genuine.stem.rpartition("-")[0], compiled_mark(tmp_path, planted.marks)
    genuine.unlink()
    genuine.parent.chmod(0o755)  # others may enter

    def plant(number: int, owner: int, mode: int) -> Path:
        library = content + bytes([number])  # another digest; behind its end nothing is read
        digest = hashlib.sha256(library).hexdigest()[:20]
        place = genuine.with_name(f"{stem}-{digest}.so")
        place.write_bytes(library)
        place.chmod(mode)
        os.chown(place, owner, -1)
        return place

    theirs = [plant(0, 54321, 0o700), plant(1, 0, 0o770), plant(2, 0, 0o702), plant(3, 0, 0o700)]
    linked = theirs[3].rename(tmp_path / "elsewhere.so")
    theirs[3].symlink_to(linked)
    planted.run("trace", str(trace), TOPOUT_CACHE=str(cache))
    assert list(genuine.parent.glob("trace_scan-*.so")) == [genuine]
    genuine.unlink()
    plant(4, 0, 0o700)  # one's own: the check can fail
    with pytest.raises(AssertionError):
        planted.run("trace", str(trace), TOPOUT_CACHE=str(cache))
    assert planted.ran() == ["loaded"]


def compiled_mark(folder: Path, marks: Path) -> bytes:
    """A library that leaves a mark when it is loaded."""
    source, library = folder / "planted.cpp", folder / "planted.so"
    source.write_text(
        "#include <cstdio>\n"
        f'__attribute__((constructor)) void run() {{ std::fopen("{marks}/loaded", "w"); }}\n'
    )
    compiler = find_compiler().command
    subprocess.run([*compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library.read_bytes()
