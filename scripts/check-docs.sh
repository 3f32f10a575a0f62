#!/usr/bin/env bash
# Documents must not outlive the code: every path that ARCHITECTURE.md names exists, generated files are not in git.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
while read -r path; do
  [ -e "${path%/}" ] || { echo "ARCHITECTURE.md names $path, which does not exist" >&2; status=1; }
done < <(grep -oE '`[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*`' ARCHITECTURE.md | tr -d '`' | sort -u)
if git ls-files | grep -E '(^|/)(target|node_modules|dist)/|\.(o|so|db|db-wal|db-shm|perf\.data)$'; then
  echo "generated files are in git" >&2; status=1
fi
exit $status
