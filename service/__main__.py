"""`python -m service [command ...]`: the command `cambist`; without a command, `cambist serve`.

The process that `serve` runs is put together in `service.serving` and held together by `service.process`.
"""

import sys

from service.cli import main

if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("serve")
    sys.exit(main())
