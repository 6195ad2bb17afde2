# Sourced by bin/demo and bin/test, which set $repo: Python interpreters, and virtual environments made from a lock file.
# An environment lives in .cache/, named after its Python, its purpose and what is in its lock file: it is made once.
# shellcheck shell=bash disable=SC2154 # the caller's variables

hash_of() { # FILE...: twelve digits that stand for what is in these files
  cat "$@" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-12
}

can_make_environments() { # VERSION PYTHON: it is that Python, and has venv and pip
  [ "$("$2" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]
}

find_python() { # VERSION: prints the path of such a Python on this machine, or fails
  local candidate
  for candidate in "$(command -v "python$1")" "$(command -v python3)" \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python /usr/local/bin/"python$1" /opt/homebrew/bin/"python$1"; do
    if [ -n "$candidate" ] && can_make_environments "$1" "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

make_environment() { # PYTHON VERSION PURPOSE: from lock/PURPOSE.lock; sets $environment
  local python=$1 version=$2 lock=$repo/lock/$3.lock package
  environment=$repo/.cache/venv-$3-$version-$(hash_of "$lock")
  # Scripts and the link to the package carry absolute paths: a repository that was moved gets a new environment.
  if [ "$(cat "$environment/.made-for" 2>/dev/null)" != "$repo" ]; then
    echo "Installing $3.lock for Python $version into ${environment#"$repo"/} (once) ..." >&2
    rm -rf "$repo/.cache/venv-$3-$version-"*
    "$python" -m venv "$environment" || return
    "$environment/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
      --require-hashes --no-deps --only-binary :all: --requirement "$lock" >&2 || return
    echo "$repo" >"$environment/.made-for"
  fi
  package=$(hash_of "$repo/pyproject.toml")
  if [ "$(cat "$environment/.package" 2>/dev/null)" != "$package" ]; then
    "$environment/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
      --no-deps --no-build-isolation --no-index --editable "$repo" >&2 || return
    echo "$package" >"$environment/.package"
  fi
}
