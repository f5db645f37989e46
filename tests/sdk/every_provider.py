"""Each official SDK with a model of every provider, tools included, and with every failure of each: one process, many threads.

MODELS and FAILURES are JSON lists of what the gateway serves; POOR_KEY and BOUND_KEY are keys without points and without leave.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import cells
import failures

if __name__ == "__main__":
    models = json.loads(os.environ["MODELS"])
    work = [(cell, (model,)) for cell in cells.CELLS for model in models]
    work += [(failures.fails, (case,)) for case in json.loads(os.environ["FAILURES"])]
    work += [(refusal, ()) for refusal in failures.REFUSALS]
    with ThreadPoolExecutor(max_workers=16) as threads:
        for done in [threads.submit(check, *case) for check, case in work]:
            done.result()
