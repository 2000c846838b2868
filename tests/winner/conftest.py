"""What these tests share with those of rungs."""

from tests.rungs.conftest import inductor as inductor
