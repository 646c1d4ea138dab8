# shellcheck shell=bash
# What launch/local, launch/elastic and launch/hosts share: their command line, what Open MPI needs
# to survive the death of ranks, and the start under supervision.

# read_arguments ARGUMENT...: sets ranks, max_restarts and options from the command line. Ranks may
# be the word that is set as default_ranks.
read_arguments() {
  # nproc would answer OMP_NUM_THREADS where that is set, which says nothing of the cores.
  ranks=${default_ranks:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}
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
    [[ $ranks =~ ^[1-9][0-9]{0,5}$ || $ranks == "${default_ranks:-}" ]] ||
      fail 2 "found $ranks after -n, expected a number of ranks from 1"
    [[ $max_restarts =~ ^[0-9]{1,6}$ ]] ||
      fail 2 "found $max_restarts after --max_restarts, expected a number from 0"
    shift
  done
  export DPCNN_COMMAND="$0 -n $ranks" # what a message says to go on with
  describe_terminal
}

# describe_terminal: tells ranks of the terminal, instead of which they see pipes.
describe_terminal() {
  local size
  if [[ -t 2 && ${TERM:-dumb} != dumb ]]; then
    export DPCNN_TERMINAL=1
    if size=$(stty size <&2) && [[ $size != "0 0" ]]; then
      export LINES=${size% *} COLUMNS=${size#* }
    fi
  fi
}

# outlive_ranks: sets `ulfm`, with which Open MPI's mpirun lets a job go on without ranks that die.
outlive_ranks() {
  export DPCNN_ELASTIC=1
  export EVENT_NOEPOLL=1 # with epoll, libevent prints a warning for the sockets of a dead rank
  # A detector with a thread of its own notices a rank that is stopped, and leaves one alone that
  # is busy. HAN's collectives give wrong sums after a death (Open MPI 5.0). That thread and btl/sm
  # crash one start in ten (5.0.11); large vectors do not go through it. The ranks tell each other
  # of a death by themselves (rbcast): mpirun's daemons do not, where a host is cut off. Recoverable:
  # mpirun does not complain of replaced ranks, which leave without MPI_Finalize as all do: it can
  # hang.
  ulfm=(--with-ft ulfm --mca mpi_ft_detector true --mca mpi_ft_detector_thread true
    --mca mpi_ft_detector_period 0.3 --mca mpi_ft_detector_timeout 1
    --mca mpi_ft_propagator_with_rbcast true
    --mca coll '^hcoll,portals4,han' --mca btl "self,tcp" --prtemca state_base_recoverable 1)
}

# start ENVIRONMENT MPIRUN...: trains there under this mpirun command; does not return.
start() {
  local python=$project/$1/bin/python
  # The user's directory is none of Python's business (-P): a file there must not replace a module.
  local train=("$python" -P -m dpcnn.train "${options[@]}")
  # mpirun reads two pipes in any order, and lines would get into the bar: let them share one.
  if [[ -n ${DPCNN_TERMINAL:-} && -t 1 ]]; then
    train=(sh -c 'exec "$@" >&2' sh "${train[@]}")
  fi
  exec "$python" "$project/launch/lib/supervise.py" "$max_restarts" "${@:2}" "${train[@]}" </dev/null
}
