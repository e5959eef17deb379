"""Whether a finished run was made with other versions or other code than there are now. Imports no torch."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from interpret_runs.runner import provenance
from interpret_runs.runner.store import Store

# What results depend on most; another Pillow or Hydra makes no other image.
COMPARED = ("interpret-runs", "torch", "torchvision")


def stale(store: Store) -> set[str]:
    """Runs that ended well, with other versions than the present ones, or other code of this package."""
    made = store.made()
    verdict = {text: is_other(*json.loads(text)) for text in set(made.values())}
    return {run_id for run_id, status in store.finished().items() if status[0] == "ok" and verdict[made[run_id]]}


def is_other(versions: Mapping[str, Any], git: Mapping[str, Any]) -> bool:
    """Whether versions and git state, as a record notes them, differ from the present ones in what matters.

    Code is the same where the package has the same content in both commits, and the same changes on top. A record
    that does not tell which changes there were is taken for other code.
    """
    present = provenance.packages()
    if any(versions.get(name) != present[name] for name in COMPARED if name in versions):
        return True
    here = provenance.git()
    if not git.get("commit") or here is None:
        return False  # an installed package is known by its version
    same = git["commit"] == here["commit"] or _same_code(git["commit"])
    changes = git.get("changes", "unknown" if git.get("dirty") else None)
    return not same or changes != here["changes"]


@cache
def _same_code(commit: Any) -> bool:
    return isinstance(commit, str) and provenance.same_code(commit)
