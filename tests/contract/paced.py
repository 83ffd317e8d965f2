"""The language workload, slowed down until FOLDER/go is there, so that trouble finds it busy.

python paced.py FOLDER ARGUMENTS OF THE WORKLOAD
"""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

from headrace.workloads.language import train

QUICK_STEPS, QUICK_S, SLOW_S = 15, 0.2, 2.0


def main() -> int:
    go, compute = Path(sys.argv[1]) / "go", vars(train)["next_token_loss"]
    steps = itertools.count()

    def paced(*words: Any) -> Any:  # noqa: ANN401
        if not go.exists():
            time.sleep(QUICK_S if next(steps) < QUICK_STEPS else SLOW_S)
        return compute(*words)

    vars(train)["next_token_loss"] = paced
    return train.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
