#!/usr/bin/env bash
# A real Slurm on this one machine, for developers and CI: no systemd, no cgroups, loopback only.
#
#   local_cluster.sh start     install the Debian packages that are missing, start, wait for idle nodes
#   local_cluster.sh stop      cancel all jobs, stop every daemon, end what is left of jobs
#   local_cluster.sh status    controller, nodes, jobs; exit 0 only when all nodes are up
#   local_cluster.sh env       print exports: eval "$(slurm/local_cluster.sh env)"
#   local_cluster.sh restart   kill the controller with -9 and start it again: jobs live on
#   local_cluster.sh run CMD   start, run CMD, stop (unless it ran before); exit as CMD did
#
# Environment: SLURM_LOCAL_DIR, SLURM_LOCAL_NODES (2), SLURM_LOCAL_CPUS per node (2), SLURM_LOCAL_PORT.
set -euo pipefail

DIR=${SLURM_LOCAL_DIR:-${TMPDIR:-/tmp}/bench-slurm}
NODES=${SLURM_LOCAL_NODES:-2}
CPUS=${SLURM_LOCAL_CPUS:-2}
PORT=${SLURM_LOCAL_PORT:-47800}
# A cluster that runs keeps its settings: to repair it must not move it to other ports.
[[ ! -e $DIR/run/munged.pid || ! -e $DIR/settings ]] || source "$DIR/settings"
((${#DIR} <= 70)) || { echo "SLURM_LOCAL_DIR is too long for unix sockets: $DIR" >&2; exit 1; }
SELF=$(realpath "$0")
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$DIR/etc/slurm.conf

say() { printf 'local_cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# up NAME COMM: the process of DIR/run/NAME.pid runs, is no zombie, and is called COMM
up() {
    local pid stat
    pid=$(cat "$DIR/run/$1.pid" 2>/dev/null) || return 1
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    [[ $stat == *"($2)"* && ${stat##*) } != [ZX]* ]]
}

end() {  # NAME COMM: TERM, five seconds, KILL
    local pid n
    up "$1" "$2" || { rm -f "$DIR/run/$1.pid"; return 0; }
    pid=$(cat "$DIR/run/$1.pid")
    kill "$pid" || true
    for ((n = 0; n < 50; n++)); do up "$1" "$2" || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$DIR/run/$1.pid"
}

await() {  # SECONDS WHAT COMMAND...
    local n=$(($1 * 10)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        ((n-- > 0)) || die "no $what in time; logs are in $DIR/log"
        sleep 0.1
    done
}

install_packages() {
    local missing=()
    command -v munged >/dev/null || missing+=(munge)
    command -v slurmctld >/dev/null || missing+=(slurmctld)
    command -v slurmd >/dev/null || missing+=(slurmd)
    command -v sbatch >/dev/null || missing+=(slurm-client)
    ((${#missing[@]})) || return 0
    [[ $(id -u) == 0 ]] || die "installing ${missing[*]} needs root"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null; }
}

configure() {
    local host i
    host=$(hostname -s)
    mkdir -p "$DIR"/{etc,log,run,state,munge}
    chmod 700 "$DIR/munge"
    echo "NODES=$NODES CPUS=$CPUS PORT=$PORT" >"$DIR/settings"
    [[ -s $DIR/munge/munge.key ]] || (umask 077; head -c 128 /dev/urandom >"$DIR/munge/munge.key")
    # slurmd 22.05 looks for a cgroup file system unless a version is named
    echo 'CgroupPlugin=cgroup/v1' >"$DIR/etc/cgroup.conf"
    cat >"$SLURM_CONF" <<C
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$((PORT + 17))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/run/munge.socket
CredType=cred/munge
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool-%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
SlurmdParameters=config_overrides
ReturnToService=2
EnforcePartLimits=ALL
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
KillWait=2
MinJobAge=86400
MaxJobCount=20000
MaxArraySize=1001
SlurmctldTimeout=30
SlurmdTimeout=30
UnkillableStepTimeout=30
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/none
C
    for ((i = 1; i <= NODES; i++)); do
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 100 + i)) CPUs=$CPUS RealMemory=16000 State=UNKNOWN"
    done >>"$SLURM_CONF"
    cat >>"$SLURM_CONF" <<C
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low  Nodes=ALL Default=NO  MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1  PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=ALL Default=NO  MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=20 PreemptMode=OFF
C
}

ready() { (($(sinfo -h -N -p main -t idle,mix,alloc -o %T | grep -vc '\*') >= NODES)); }

start() {
    local i
    install_packages
    up slurmctld slurmctld || configure
    up munged munged || {
        rm -f "$DIR"/run/munge.socket*
        munged --key-file="$DIR/munge/munge.key" --socket="$DIR/run/munge.socket" \
            --pid-file="$DIR/run/munged.pid" --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/seed"
    }
    await 5 munged munge -n -S "$DIR/run/munge.socket"
    up slurmctld slurmctld || slurmctld
    await 30 slurmctld bash -c 'scontrol ping | grep -q "is UP"'
    for ((i = 1; i <= NODES; i++)); do up "slurmd-n$i" slurmd || slurmd -N "n$i" </dev/null; done
    await 30 "idle nodes" ready
    up kicker local_cluster || {
        setsid bash "$SELF" _kicker </dev/null >>"$DIR/log/kicker.log" 2>&1 &
        await 5 kicker up kicker local_cluster
    }
    say "$NODES nodes are up; eval \"\$($0 env)\""
}

stop() {
    local pid name
    [[ -d $DIR/run ]] || return 0
    end kicker local_cluster
    if up slurmctld slurmctld; then
        timeout 10 squeue -h -o %A 2>/dev/null | sort -u | xargs -r timeout 20 scancel 2>/dev/null || true
        (await 15 "end of jobs" bash -c "[[ -z \$(squeue -h -t running,completing) ]]") || true
    fi
    for pid in "$DIR"/run/slurmd-*.pid; do
        name=$(basename "$pid" .pid)
        [[ ! -e $pid ]] || end "$name" slurmd
    done
    end slurmctld slurmctld
    pkill -9 -f "slurmstepd: .*$DIR" 2>/dev/null || true
    rm -rf "$DIR"/state/job_state* "$DIR"/spool-n*/job*
    end munged munged
}

# slurmctld holds a requeued job back for 121 s, fixed in its code. Start it sooner, but not while its
# last step still ends (each lives behind a socket NODE_JOB.STEP): that would drain the node.
kicker() {
    printf local_cluster >/proc/$$/comm
    echo $$ >"$DIR/run/kicker.pid"
    while [[ -e $DIR/run/munged.pid ]]; do
        scontrol --all --oneliner show job 2>/dev/null |
            sed -n '/ JobState=PENDING Reason=BeginTime / { / Restarts=0 /!p }' |
            awk -v soon="$(date -d '+4 seconds' +%Y-%m-%dT%H:%M:%S)" '
                match($0, / EligibleTime=[^ ]+/) && substr($0, RSTART + 14, RLENGTH - 14) > soon {
                    sub(/JobId=/, "", $1); print $1 }' |
            while read -r job; do
                grep -q "$DIR/spool-.*_$job\." /proc/net/unix || scontrol update jobid="$job" StartTime=now+2
            done || true  # the job has gone, or the controller is away: the next round sees
        sleep 0.5
    done
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    # slurmctld writes its state every 6 s at most: a job whose start it forgot would be killed, and held
    restart) sleep 7; kill -9 "$(cat "$DIR/run/slurmctld.pid")"; sleep 1; start ;;
    status) scontrol ping && sinfo && squeue && ready ;;
    env) echo "export SLURM_CONF=$SLURM_CONF"; echo "export PATH=\$PATH:/usr/sbin" ;;
    run) shift; up slurmctld slurmctld || trap stop EXIT; start; rc=0; "$@" || rc=$?; exit $rc ;;
    _kicker) kicker ;;
    *) sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
