#!/bin/sh
# Gives the users of an ACL file their passwords.
#
#   sh deploy/passwords.sh users.acl .secrets
#
# For each of client, reactor and observer it takes the password from the environment (CLIENT_PASSWORD, REACTOR_PASSWORD,
# OBSERVER_PASSWORD), else the one made by an earlier run, else a random one of 128 bits. The directory then holds
#
#   NAME.password    for whoever logs in as NAME
#   reactor.url      what the reactor takes as REDIS_URL_FILE; the address in it is REDIS_ADDRESS (default localhost:6379)
#   users.acl        the rules of the ACL file with the SHA-256 of each password, for the server
#
# each readable by its owner alone. Run again it keeps every password and takes over changed rules; a new password is had by
# deleting NAME.password first. The server reads the result when it starts. Nothing secret is printed. Needs only a POSIX shell
# with the usual small tools, so that it runs on the machine and in the image of any Redis or Valkey.
set -eu
umask 077

fail() { # STATUS MESSAGE
  echo "passwords: $2" >&2
  exit "$1"
}

sha256() {
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-64
}

keep() { # FILE OWNER: standard input becomes FILE in one step, so that no reader meets half of it
  cat >"$directory/.new"
  chmod 0400 "$directory/.new"
  [ -z "$2" ] || chown "$2" "$directory/.new"
  mv -f "$directory/.new" "$directory/$1"
}

password_of() { # NAME GIVEN
  if [ -n "$2" ]; then
    case $2 in
      *[!A-Za-z0-9_.~-]*) fail 64 "the password of $1 may hold letters, digits and _ . ~ - only: it has to fit in a URL" ;;
      ????????????????*) printf %s "$2" ;;
      *) fail 64 "the password of $1 has to be at least 16 characters long" ;;
    esac
  elif [ -s "$directory/$1.password" ]; then
    cat "$directory/$1.password"
  else
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
  fi
}

[ $# = 2 ] || fail 64 "usage: passwords.sh ACL_FILE DIRECTORY"
rules=$(cat "$1" 2>/dev/null) || fail 64 "cannot read $1"
directory=$2
mkdir -p "$directory"
for name in client reactor observer; do
  case $name in
    client) given=${CLIENT_PASSWORD:-} ;;
    reactor) given=${REACTOR_PASSWORD:-} ;;
    observer) given=${OBSERVER_PASSWORD:-} ;;
  esac
  password=$(password_of "$name" "$given")
  case "
$rules" in
    *"
user $name on "*) ;;
    *) fail 78 "$1 has no line that begins with 'user $name on'" ;;
  esac
  hash=$(printf %s "$password" | sha256)
  rules=$(printf '%s\n' "$rules" | sed "s/^user $name on /&#$hash /")
  printf %s "$password" | keep "$name.password" "${REDIS_OWNER:-}"
  [ "$name" != reactor ] ||
    printf 'redis://%s:%s@%s/0\n' "$name" "$password" "${REDIS_ADDRESS:-localhost:6379}" | keep reactor.url "${REACTOR_OWNER:-}"
done
printf '%s\n' "$rules" | keep users.acl "${REDIS_OWNER:-}"
