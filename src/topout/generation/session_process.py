"""How a worker process is started: its module and its environment. Imports no torch."""

import os

from topout.kernels.cache import writable_cache_folder

WORKER_MODULE = "topout.ladder.worker"


def worker_environment(threads: int) -> dict[str, str]:
    """What a worker process finds in its environment."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",  # the parent has fetched what is to be fetched
        # Kept between climbs, so that the second one compiles nothing anew.
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get(
            "TORCHINDUCTOR_CACHE_DIR", str(writable_cache_folder("inductor"))
        ),
    }
