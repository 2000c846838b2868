"""Rungs that fail in every way a rung can, for the tests of what a climb makes of them."""

import os
import signal
import time

from torch import Tensor, nn

from topout.generation.build import Build
from topout.generation.session import GeneratedRun, Session
from topout.models.decoder import Decoder
from topout.rungs.rung import Rung


class Crash(Rung):
    """Ends its process while it is built."""

    name = "crash"
    change = "crashes"

    def configure(self, build: Build) -> None:
        """Die with a signal that leaves no traceback."""
        os.kill(os.getpid(), signal.SIGSEGV)


class Killed(Rung):
    """Is ended as the system ends a process that takes too much memory."""

    name = "killed"
    change = "is killed"

    def configure(self, build: Build) -> None:
        """Die by SIGKILL."""
        os.kill(os.getpid(), signal.SIGKILL)


class OutOfMemory(Rung):
    """Asks for more memory than there is."""

    name = "out_of_memory"
    change = "runs out of memory"

    def configure(self, build: Build) -> None:
        """An allocation that cannot succeed."""
        import torch

        torch.empty(1 << 60)


class Raises(Rung):
    """Raises an exception with several lines."""

    name = "raises"
    change = "raises"

    def configure(self, build: Build) -> None:
        """Fail in Python."""
        raise RuntimeError("the first line\nthe second line")


class Hangs(Rung):
    """Never gets ready."""

    name = "hangs"
    change = "hangs"

    def configure(self, build: Build) -> None:
        """Sleep for an hour."""
        time.sleep(3600)


class WrongOutput(Rung):
    """Is fast and wrong: a bias that moves every logit's order a little."""

    name = "wrong_output"
    change = "returns something else"
    requires = ("static_cache",)

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        """Perturb one weight matrix by 1 %."""
        mlp = model.blocks[0].mlp
        down = mlp.down
        assert isinstance(down, nn.Linear)
        down.weight = nn.Parameter(down.weight * 1.01, requires_grad=False)
        return model


class Slow(Rung):
    """Claims a thousand times the time that it takes: a loss on a machine however busy."""

    name = "slow"
    change = "multiplies its times by a thousand"
    factor = 1000.0

    def transform_session(self, session: Session, build: Build) -> Session:
        """Report other times than the plain session's."""
        plain = session.generate

        def generate(prompt: Tensor, new_tokens: int) -> GeneratedRun:
            run = plain(prompt, new_tokens)
            ttft_s, total_s = self.factor * run.ttft_s, self.factor * run.total_s
            return GeneratedRun(run.tokens, ttft_s, total_s, run.forward_passes)

        session.generate = generate  # type: ignore[method-assign]
        return session


class Fast(Slow):
    """Claims a thousandth of the time that it takes: a gain on a machine however busy."""

    name = "fast"
    change = "divides its times by a thousand"
    factor = 0.001
