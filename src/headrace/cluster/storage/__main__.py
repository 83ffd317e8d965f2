"""The child that ``probe`` starts: PATH DEADLINE_S; prints a line of JSON for each answer.

Ends with the number of the error that the kernel gave.
"""

import sys

from headrace.cluster.storage.look import look
from headrace.core.records import encode


def main() -> int:
    try:
        for found in look(sys.argv[1], float(sys.argv[2])):
            sys.stdout.buffer.write(encode(found) + b"\n")
            sys.stdout.buffer.flush()
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return error.errno or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
