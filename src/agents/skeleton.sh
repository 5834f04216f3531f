#!/bin/sh
#
# NAME: starts, stops and looks at one thing of yours. An OCF agent, for systole and for Pacemaker alike.
#
# It is called with the action as its only argument; parameters are in the environment as OCF_RESKEY_name. It may be
# asked twice, it may be killed half-way, and its exit code is believed.
#
#   systole agent test ./NAME program=/bin/sleep arguments=1000

# Exit codes with a meaning.
OK=0 FAILED=1 WRONG_ARGUMENTS=2 UNKNOWN_ACTION=3 NOT_INSTALLED=5 NOT_RUNNING=7

program=${OCF_RESKEY_program-}
arguments=${OCF_RESKEY_arguments-}
pid_file=${OCF_RESKEY_pidfile:-/run/NAME-${OCF_RESOURCE_INSTANCE:-default}.pid}

# What went wrong, in a sentence that reaches whoever looks.
because() {
    echo "ocf-exit-reason:$*" >&2
}

meta_data() {
    cat <<END
<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="NAME" version="0.1">
<version>1.1</version>
<longdesc lang="en">What it is for, in some lines.</longdesc>
<shortdesc lang="en">What it is for</shortdesc>
<parameters>
<parameter name="program" required="1">
<longdesc lang="en">The program that is run in the background.</longdesc>
<shortdesc lang="en">Program</shortdesc>
<content type="string"/>
</parameter>
<parameter name="arguments" required="0">
<longdesc lang="en">Its arguments, separated by blanks.</longdesc>
<shortdesc lang="en">Arguments</shortdesc>
<content type="string" default=""/>
</parameter>
<parameter name="pidfile" required="0">
<longdesc lang="en">Where its process is noted.</longdesc>
<shortdesc lang="en">Pid file</shortdesc>
<content type="string" default="/run/NAME-INSTANCE.pid"/>
</parameter>
</parameters>
<actions>
<action name="start" timeout="20s"/>
<action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/>
<action name="validate-all" timeout="5s"/>
<action name="meta-data" timeout="5s"/>
</actions>
</resource-agent>
END
}

# What a start needs. Stop and monitor must do without it: where the program is gone, nothing runs, and that is no failure.
validate() {
    if [ -z "$program" ]; then
        because "the parameter program is missing"
        exit $WRONG_ARGUMENTS
    fi
    if [ ! -x "$program" ]; then
        because "$program is not there, or is no program"
        exit $NOT_INSTALLED
    fi
}

# The truth, whatever was asked before: a pid file that outlived its process says nothing.
monitor() {
    [ -s "$pid_file" ] || return $NOT_RUNNING
    pid=$(cat "$pid_file")
    # The program, or the shell or interpreter that runs it.
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 2 | grep -qxF -- "$program" || return $NOT_RUNNING
}

start() {
    monitor && return $OK
    # A shell notes its own process, and then becomes the program: there is no moment in which it runs unnoted.
    # It stays in the group of this script, so that nothing is left of a start that is killed half-way.
    # shellcheck disable=SC2016,SC2086 # the inner shell reads its own; arguments are words
    sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$pid_file" "$program" $arguments >/dev/null 2>&1 </dev/null &
    tries=0
    until monitor; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then
            because "$program does not run after 10 seconds"
            return $FAILED
        fi
        sleep 0.1
    done
}

# It returns only when nothing runs any more: the other node starts right after that.
stop() {
    monitor || { rm -f "$pid_file"; return $OK; }
    pid=$(cat "$pid_file")
    kill "$pid" 2>/dev/null
    tries=0
    while monitor; do
        tries=$((tries + 1))
        # Less than the timeout of the stop: a failed stop is worse than a hard one.
        [ $tries -lt 100 ] || kill -9 "$pid" 2>/dev/null
        sleep 0.1
    done
    rm -f "$pid_file"
}

case ${1-} in
    meta-data) meta_data ;;
    validate-all) validate ;;
    monitor | status) monitor ;;
    start) validate && start ;;
    stop) stop ;;
    *)
        echo "usage: $0 start|stop|monitor|validate-all|meta-data" >&2
        exit $UNKNOWN_ACTION
        ;;
esac
