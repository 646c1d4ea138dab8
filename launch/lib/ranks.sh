# shellcheck shell=bash
# What launch/local, launch/elastic and launch/hosts share: the command line, the options with which
# Open MPI survives the death of ranks, and the start under supervision.
# shellcheck disable=SC2034,SC2154  # the scripts that source this file share its variables

# read_arguments ARGUMENT...: sets ranks, max_restarts and options from the command line. Ranks may
# also be the word in default_ranks.
read_arguments() {
  ranks=${default_ranks:-$(usable_cores)}
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
      fail 2 "found $ranks after -n, expected a number of ranks, 1 or more"
    [[ $max_restarts =~ ^[0-9]{1,6}$ ]] ||
      fail 2 "found $max_restarts after --max_restarts, expected a number, 0 or more"
    shift
  done
  export DPCNN_COMMAND="$0 -n $ranks" # which messages repeat to say how to resume
  describe_terminal
}

# usable_cores [CGROUP]: prints how many cores this process may use, as a container limits them too:
# by their number, and by a quota of time, whose file is cpu.max, or cpu.cfs_* in older systems.
usable_cores() {
  local cgroup=${1:-/sys/fs/cgroup} cores quota=max period
  # If OMP_NUM_THREADS is set, nproc prints that instead of the number of cores.
  cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  if [[ -r $cgroup/cpu.max ]]; then
    read -r quota period <"$cgroup/cpu.max"
  elif [[ -r $cgroup/cpu/cpu.cfs_quota_us && -r $cgroup/cpu/cpu.cfs_period_us ]]; then
    quota=$(<"$cgroup/cpu/cpu.cfs_quota_us") period=$(<"$cgroup/cpu/cpu.cfs_period_us")
  fi
  if [[ $quota =~ ^[0-9]+$ && ${period:-} =~ ^[1-9][0-9]*$ ]]; then
    quota=$((quota / period))
    ((quota >= cores)) || cores=$((quota > 0 ? quota : 1))
  fi
  echo "$cores"
}

# forget_job: unsets what a surrounding job says about its hosts, ranks and OpenMP's threads: the
# ranks are where the launch script says, with one thread each unless --threads says otherwise.
forget_job() {
  local name
  for name in $(compgen -e); do
    case $name in
      OMPI_COMM_* | OMPI_UNIVERSE_* | PRTE_LAUNCHED | PMIX_* | PMI_* | HYDI_* | MPI_LOCAL*) ;;
      HYDRA_HOST_FILE | HYDRA_LAUNCHER* | HYDRA_BOOTSTRAP* | HYDRA_RMK | MPIEXEC_TIMEOUT) ;;
      SLURM_* | SRUN_* | PBS_* | LSB_* | PE_HOSTFILE | SGE_* | COBALT_* | FLUX_* | PALS_*) ;;
      OMP_NUM_THREADS | OMP_THREAD_LIMIT) ;;
      *) continue ;;
    esac
    unset "$name"
  done
}

# of_networks: prints the names of the variables that say how MPI and its networks are to be used.
of_networks() {
  compgen -e | grep -E '^(OMPI|PRTE|OPAL|ORTE|UCX|FI|HYDRA|MPIEXEC|MPICH|MPIR)_' || true
}

# forget_site: unsets also what a site says about networks and MPI, which is for other programs: the
# ranks are on this machine, under the project's own MPI.
forget_site() {
  local name
  forget_job
  for name in $(of_networks); do
    unset "$name"
  done
}

# name_site: says which variables of that kind are in force, as they are for the user to choose where
# ranks are on several machines.
name_site() {
  local names
  names=$(of_networks | xargs)
  [[ -z $names ]] || echo "launch/$script: the ranks are given ${names// /, }" >&2
}

# spare_shared_memory: keeps MPICH's ranks from crashing where /dev/shm is small (Docker: 64 MB). They
# map 5.2 MB of it each, mostly for UCX, which takes shared memory of System V's kind as well.
spare_shared_memory() {
  local room
  room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
  ((${room:-0} >= ranks * 6 * 1024)) || export UCX_TLS=sysv,self
}

# describe_terminal: tells the ranks about the terminal, as they see pipes instead.
describe_terminal() {
  local size
  if [[ -t 2 && ${TERM:-dumb} != dumb ]]; then
    export DPCNN_TERMINAL=1
    if size=$(stty size <&2) && [[ $size != "0 0" ]]; then
      export LINES=${size% *} COLUMNS=${size#* }
    fi
  fi
}

# outlive_ranks: sets `ulfm`, the options with which Open MPI's mpirun keeps a job that loses ranks.
outlive_ranks() {
  export DPCNN_ELASTIC=1
  export EVENT_NOEPOLL=1 # with epoll, libevent prints a warning for the sockets of a dead rank
  # mpi_ft_detector_thread: a detector with its own thread notices a stopped rank, and does not
  #   mistake a busy one for it.
  # rbcast: the ranks tell each other of a death; mpirun's daemons do not if a host is cut off.
  # coll ^han: HAN's collectives give wrong sums after a death (Open MPI 5.0).
  # btl tcp: the detector's thread and btl/sm crash one start in ten (5.0.11); large vectors do not
  #   need btl/sm.
  # state_base_recoverable: keeps mpirun from complaining about replaced ranks. Like all ranks, they
  #   exit without MPI_Finalize, which can hang.
  ulfm=(--with-ft ulfm --mca mpi_ft_detector true --mca mpi_ft_detector_thread true
    --mca mpi_ft_detector_period 0.3 --mca mpi_ft_detector_timeout 1
    --mca mpi_ft_propagator_with_rbcast true
    --mca coll '^hcoll,portals4,han' --mca btl "self,tcp" --prtemca state_base_recoverable 1)
}

# check_python_path PYTHON: ends the script if PYTHONPATH, perhaps of a module system, has packages that
# would take the place of the environment's.
check_python_path() {
  local other
  [[ -n ${PYTHONPATH:-} ]] || return 0
  other=$("$1" -P -c 'import sys
from importlib.util import find_spec
names = ("numpy", "h5py", "mpi4py", "tqdm")
files = (spec.origin for spec in map(find_spec, names) if spec)
print(next((file for file in files if not file.startswith(sys.prefix)), ""))')
  [[ -z $other ]] ||
    fail 2 "PYTHONPATH leads to $other, expected the packages of ${1%/bin/python}: unset PYTHONPATH"
}

# prepare ENVIRONMENT: sets `python` and `train`, the command of a rank, of this environment.
prepare() {
  python=$project/$1/bin/python
  # Modules of a site may put other versions of MPI's libraries there.
  [[ -z ${LD_LIBRARY_PATH:-} ]] || export LD_LIBRARY_PATH=$project/$1/lib:$LD_LIBRARY_PATH
  check_python_path "$python"
  # -P: a file in the user's directory must not replace a module.
  train=("$python" -P -m dpcnn.train "${options[@]}")
}

# start_alone ENVIRONMENT: trains in one process, without MPI and supervision, which would take the
# terminal's input from it; does not return.
start_alone() {
  prepare "$1"
  unset DPCNN_TERMINAL LINES COLUMNS # it sees the terminal itself
  exec "${train[@]}"
}

# start ENVIRONMENT MPIRUN...: trains in this environment under this mpirun; does not return.
start() {
  prepare "$1"
  # mpirun reads two pipes in any order, which would mix lines into the bar: let them share one.
  if [[ -n ${DPCNN_TERMINAL:-} && -t 1 ]]; then
    train=(sh -c 'exec "$@" >&2' sh "${train[@]}")
  fi
  exec "$python" "$project/launch/lib/supervise.py" "$max_restarts" "${@:2}" "${train[@]}" \
    </dev/null
}
