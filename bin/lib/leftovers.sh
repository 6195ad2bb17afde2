# Sourced by bin/test: after the tests, nothing of theirs may be there. What is found is named, removed, and is a failure.
# shellcheck shell=bash disable=SC2154 # the caller's variables

left_processes() { # those that work in, or were given, this run's scratch directory
  local process
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd" 2>/dev/null) in "$scratch"/*) echo "${process#/proc/}"; continue ;; esac
    grep -qzFx "TMPDIR=$scratch" "$process/environ" 2>/dev/null && echo "${process#/proc/}"
  done
}

left_containers() { # only on our own engine (on another one they may be somebody's sessions), and not when cut short
  [ -z "$engine" ] || [ "${failed[*]}" = interrupted ] \
    || timeout 20 docker ps --all --quiet --filter label=session-reactor.prefix 2>/dev/null
}

remove_test_images() { # on an engine that stays; a private one takes its images with it
  [ -z "$engine" ] && engine_answers || return 0
  docker image ls --quiet --filter label=session-reactor-test | sort -u | xargs docker image rm --force >/dev/null 2>&1
}

leftovers() { # fails when something was left
  local process container found=0
  for process in $(left_processes); do
    found=1
    echo "bin/test: left behind: process $process: $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null | cut -c1-200)" >&2
    kill -KILL "$process" 2>/dev/null
  done
  for container in $(left_containers); do
    found=1
    echo "bin/test: left behind: container $(docker inspect --format '{{.Name}} {{json .Config.Labels}}' "$container")" >&2
  done
  remove_test_images
  return "$found"
}
