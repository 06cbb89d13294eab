#!/usr/bin/env bash
# Back to MySQL: ./zdm rollback, under the name that runbooks look for. Arguments go on: scripts/rollback.sh prod --dry-run
set -euo pipefail
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../zdm" rollback "$@"
