#!/usr/bin/env bash
# Create the virtual environment from the hash-pinned lock file. Repeatable; says what is missing.
set -euo pipefail
venv=${1:-.venv}
say() { printf '\033[1;36m==>\033[0m %s\n' "$*"; }
die() { printf '\033[1;31mset-up failed:\033[0m %s\n' "$*" >&2; exit 1; }

python=""
for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
  [ -n "$candidate" ] || continue
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
    python=$candidate; break
  fi
done
[ -n "$python" ] || die "Python 3.11, 3.12 or 3.13 is needed and none was found on PATH (Debian: apt-get install python3.11 python3.11-venv; or set PYTHON=/path/to/python3.11)."
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || die "$python has no venv module (Debian: apt-get install python3-venv)."

say "Python: $("$python" --version) -> $venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
say "installing pinned packages (hashes checked); a first run downloads about 130 MB"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
  || die "pip could not install requirements.lock (see above). A network or index problem is the usual reason; run the same command again."
# The project itself is on the path by a .pth file: an editable install would fetch an unpinned build backend.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
pwd > "$site/cambist-checkout.pth"
cat > "$venv/bin/cambist" <<PY
#!$(cd "$venv" && pwd)/bin/python
import sys
from service.cli import main
sys.exit(main())
PY
chmod +x "$venv/bin/cambist"
say "ready: $venv/bin/cambist --help"
