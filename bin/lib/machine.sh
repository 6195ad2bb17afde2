# Sourced by bin/test and bin/prove, which set $program: what the tests need from the machine, installed where that is possible, named where it is not.
# shellcheck shell=bash disable=SC2154 # the caller's variables

have() { command -v "$1" >/dev/null 2>&1; }

engine_answers() { # within the engine that DOCKER_HOST names, or the default one
  have docker && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

missing_packages() { # prints the Debian packages whose program is not here
  have git || echo git
  have redis-server || echo redis-server
  have timeout || echo coreutils
  have pkill || echo procps
  have docker || echo docker.io
  have docker-compose || docker compose version >/dev/null 2>&1 || echo docker-compose
  # Only on Linux, where a private engine can be started and its images can be made from nothing:
  [ "$(uname -s)" = Linux ] || return 0
  have ip || echo iproute2
  have busybox && busybox --list | grep -qx httpd && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
  have debootstrap || echo debootstrap
  have faketime || echo faketime
  engine_answers && return 0
  have dockerd || echo docker.io
  have iptables || echo iptables
}

install_packages() { # PACKAGE...: without letting a package start its service
  local policy=/usr/sbin/policy-rc.d kept='' rc=0
  if [ -e "$policy" ]; then
    kept=$(mktemp -u "$policy.XXXXXX")
    mv "$policy" "$kept"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
    </dev/null >"$scratch/apt.log" 2>&1 || rc=$?
  rm -f "$policy"
  [ -z "$kept" ] || mv "$kept" "$policy"
  [ "$rc" = 0 ] || tail -n 5 "$scratch/apt.log" >&2
  return "$rc"
}

prepare_machine() {
  local packages
  packages=$(missing_packages | sort -u | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "$program: install what the tests need first: $packages(names of Debian packages; as root on Debian this is done here)" >&2
    return 69
  fi
  header "Installing $packages"
  # shellcheck disable=SC2086 # a list of words
  install_packages $packages || { echo "$program: apt-get could not install: $packages" >&2; return 69; }
}

start_engine() { # sets engine (its process) and DOCKER_HOST, unless an engine answers
  engine=
  if engine_answers; then
    echo "Docker engine: ${DOCKER_HOST:-the default one}"
    return 0
  fi
  if [ "$(id -u)" != 0 ] || ! have dockerd; then
    echo "$program: no Docker engine answers at ${DOCKER_HOST:-the default socket}; start one (as root on Debian this is done here)" >&2
    return 69
  fi
  engine_dir=$(mktemp -d /var/tmp/srengine.XXXXXX)
  "${die_with_me[@]}" "$repo/bin/lib/engine" "$engine_dir" &
  engine=$!
  export DOCKER_HOST=unix://$engine_dir/docker.sock
  unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
  for _ in $(seq 1 120); do
    if engine_answers; then
      echo "Docker engine: a private one, $(docker version --format '{{.Server.Version}}')"
      return 0
    fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.5
  done
  echo "$program: the private Docker engine did not start:" >&2
  tail -n 5 "$engine_dir/log" >&2 || true
  return 69
}

stop_engine() {
  [ -n "${engine:-}" ] || return 0
  kill -TERM "$engine" 2>/dev/null || true
  while kill -0 "$engine" 2>/dev/null; do wait "$engine" 2>/dev/null || true; done
  rm -rf --one-file-system "$engine_dir"
}
