# shellcheck shell=bash
# Makes the virtual environments of the launch scripts, which source this file.
#
# An environment is ready when its stamp, the file .installed, names the directory and interpreter
# it was made for, the checksum of the pyproject.toml it was installed from, and all wanted extras.
# The stamp says "unfinished" until the set-up is complete, so that the next run throws away what an
# interrupted set-up leaves. A directory without a stamp was made by hand: dpcnn is installed into
# it, and it is never removed.

project=$(CDPATH='' cd -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")/../.." && pwd -P)
script=${0##*/}

# A file that is opened next would get the number of a closed stream, and the output.
[[ -e /dev/fd/0 ]] || exec </dev/null
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/2 ]] || exec 2>/dev/null

# pip turns Ctrl-C into an ordinary failure; without this, launch/test would go on after it.
trap 'exit 130' INT

# fail CODE MESSAGE: prints one line and ends the script.
fail() {
  echo "launch/$script: error: $2" >&2
  exit "$1"
}

# Of what Python is told by variables, only this is for the project's own.
for name in $(compgen -e | grep '^PYTHON.'); do
  case ${name#PYTHON} in
    PATH | UTF8 | IOENCODING | UNBUFFERED | DONTWRITEBYTECODE | PYCACHEPREFIX | FAULTHANDLER) ;;
    *) unset "$name" ;;
  esac
done

env pwd >/dev/null 2>&1 || fail 2 "the current directory is gone: change to one that exists"

# environment NAME EXTRA...: makes the environment NAME in the project root ready for use.
environment() {
  local directory=$project/$1
  shift
  is_ready "$directory" "$@" && return
  [[ -w $project ]] ||
    fail 1 "could not set up $directory: no permission to write there; make a clone of your own"
  find_python
  # Two first runs at once take turns. They lock this file, so that no lock file is left behind.
  {
    flock 9 || fail 1 "could not lock launch/lib/environment.sh, expected a file system with flock"
    is_ready "$directory" "$@" || set_up "$directory" "$@"
  } 9<>"$project/launch/lib/environment.sh"
}

# is_ready DIRECTORY EXTRA...: tells whether the stamp names everything that is wanted.
is_ready() {
  local directory=$1 extra stamp
  shift
  read_stamp "$directory"
  [[ ${stamp[0]} == "$(ground "$directory")" && ${stamp[1]} == "$(contents)" ]] || return
  for extra in "$@"; do
    [[ " ${stamp[2]} " == *" $extra "* ]] || return
  done
}

# set_up DIRECTORY EXTRA...: installs the project, editable, with these extras and those it has.
set_up() {
  local directory=$1 extras stamp
  shift
  read_stamp "$directory"
  if [[ -n ${stamp[0]} && ${stamp[0]} != "$(ground "$directory")" ]]; then
    rm -rf "$directory" # unfinished, moved, or its interpreter is gone
    stamp=("" "" "")
  fi
  extras=$(tr ' ' '\n' <<<"${stamp[2]} $*" | sort -u | xargs)
  echo "Setting up $directory with ${extras// /, } (takes about a minute)..." >&2
  {
    mkdir -p "$directory" &&
      echo unfinished >"$directory/.installed" &&
      { [[ -x $directory/bin/python ]] || "$python" -m venv "$directory" >&2; } &&
      plain_pip "$directory/bin/python" &&
      (cd "$project" && "$directory/bin/python" -m pip install -qq --no-input \
        --disable-pip-version-check --editable ".[${extras// /,}]" >&2) &&
      printf '%s\n' "$(ground "$directory")" "$(contents)" "$extras" >"$directory/.installed"
  } || fail 1 "could not set up $directory for the reason above (no network?): run this again"
}

# plain_pip PYTHON: takes over pip's settings, from files and variables, as far as they say which
# packages to take from where; others could have it install elsewhere, only a part, or nothing.
plain_pip() {
  local settings setting name value
  # PIP_USER and the like would have it list one file alone.
  settings=$(env -u PIP_USER -u PIP_SITE -u PIP_GLOBAL "$1" -m pip config list) || return
  for name in $(compgen -e | grep '^PIP_'); do
    unset "$name"
  done
  export PIP_CONFIG_FILE=/dev/null
  while read -r setting; do # such as global.extra-index-url='https://one\nhttps://two'
    name=${setting%%=*} value=${setting#*=}
    name=${name##*.} value=${value:1:-1}
    case $name in
      index-url | extra-index-url | no-index | find-links | trusted-host | proxy | keyring-provider) ;;
      cert | client-cert | timeout | default-timeout | retries | cache-dir | no-cache-dir) ;;
      constraint | no-compile) ;;
      *) continue ;;
    esac
    name=${name^^}
    export "PIP_${name//-/_}=${value//\\n/ }"
  done < <(sed '/^:env:/d' <<<"$settings" && sed '/^:env:/!d' <<<"$settings") # variables win over files
}

# read_stamp DIRECTORY: reads the lines ground, contents and extras into the caller's `stamp`.
read_stamp() {
  stamp=()
  [[ ! -r $1/.installed ]] || mapfile -t stamp <"$1/.installed"
  stamp=("${stamp[0]:-}" "${stamp[1]:-}" "${stamp[2]:-}")
}

# ground DIRECTORY: prints what must not change under an environment: its path and interpreter.
ground() {
  echo "$1 $(readlink -e "$1/bin/python")"
}

# contents: prints a checksum of pyproject.toml.
contents() {
  cksum <"$project/pyproject.toml"
}

# find_python: sets `python` to $PYTHON, or python3, or the newest python3.x that is new enough.
find_python() {
  local candidates=(python3 python3.{19..11}) found
  [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
  for python in "${candidates[@]}"; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      found="$(command -v "$python") ($("$python" --version))"
      "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail 2 "found $found without the venv module, expected one with it: install python3-venv"
      return
    fi
  done
  python=${candidates[0]}
  found=$("$python" --version 2>/dev/null) || found=nothing
  fail 2 "found $found as $python, expected Python 3.11 or newer: install it or set PYTHON to it"
}
