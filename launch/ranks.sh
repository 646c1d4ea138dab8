# shellcheck shell=bash
# What launch/local and launch/elastic share: their command line, and the start under supervision.

# read_arguments ARGUMENT...: sets ranks, max_restarts and options from the command line.
read_arguments() {
  # nproc would answer OMP_NUM_THREADS where that is set, which says nothing of the cores.
  ranks=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  options=()
  if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    usage
    exit
  fi
  while (($#)); do
    case $1 in
      -n | --ranks) ranks=${2:-nothing} && shift ;;
      --ranks=*) ranks=${1#*=} ;;
      --max[-_]restarts) max_restarts=${2:-nothing} && shift ;;
      --max[-_]restarts=*) max_restarts=${1#*=} ;;
      --) options+=("${@:2}") && break ;;
      *) options+=("$1") ;;
    esac
    [[ $ranks =~ ^[1-9][0-9]{0,5}$ ]] ||
      fail 2 "found $ranks after -n, expected a number of ranks from 1"
    [[ $max_restarts =~ ^[0-9]{1,6}$ ]] ||
      fail 2 "found $max_restarts after --max_restarts, expected a number from 0"
    shift
  done
  export DPCNN_COMMAND="$0 -n $ranks" # what a message says to go on with
}

# start ENVIRONMENT MPIRUN...: trains there under this mpirun command; does not return.
start() {
  local python=$project/$1/bin/python size
  # The user's directory is none of Python's business (-P): a file there must not replace a module.
  local train=("$python" -P -m dpcnn.train "${options[@]}")
  if [[ -t 2 && ${TERM:-dumb} != dumb ]]; then
    # Ranks see pipes instead of the terminal, so they are told of it.
    export DPCNN_TERMINAL=1
    if size=$(stty size <&2) && [[ $size != "0 0" ]]; then
      export LINES=${size% *} COLUMNS=${size#* }
    fi
    # mpirun reads two pipes in any order, and lines would get into the bar: let them share one.
    [[ ! -t 1 ]] || train=(sh -c 'exec "$@" >&2' sh "${train[@]}")
  fi
  exec "$python" "$project/launch/supervise.py" "$max_restarts" "${@:2}" "${train[@]}" </dev/null
}
