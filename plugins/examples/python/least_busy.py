"""A key selector: of the credentials that may serve, the one with the fewest requests in flight.

Names are those of `wit/policy.wit`. `Err` is the error of a WIT `result`.
"""

import json

from componentize_py_types import Err
from wit_world.exports import KeySelection as Contract


class KeySelection(Contract):
    def configure(self, config):
        unknown = json.loads(config)
        if unknown:
            raise Err(f"this selector has no settings, and was given {', '.join(unknown)}")

    def select(self, request, candidates):
        return min(candidates, key=lambda candidate: candidate.in_flight).handle
