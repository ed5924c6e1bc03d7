#!/usr/bin/env bash
# Refuses a change of the contracts that would break a caller of the release before this commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

release="$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)"
if [ -z "$release" ]; then
  echo 'buf breaking: there is no earlier release to compare with'
  exit 0
fi
echo "buf breaking: compared with $release"
old="$(mktemp -d)"
trap 'rm -rf "$old"' EXIT
git archive "$release" buf.yaml proto third_party | tar -x -C "$old"
buf breaking --against "$old"
