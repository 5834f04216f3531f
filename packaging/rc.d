#!/bin/sh
#
# Heartbeat's event scripts, for [notify]: program = ["/etc/systole/rc.d", "/etc/ha.d/rc.d"].
#
# Heartbeat ran DIRECTORY/status when a node came or went, with HA_* in its environment; so does this. What its own package
# had there took over resources, which is systole's business now, so that is not run. Its other scripts answered messages
# that nobody sends any more.

set -eu

scripts=${1:-/etc/ha.d/rc.d}
case ${SYSTOLE_EVENT-} in
    peer-up) HA_st=active ;;
    peer-down) HA_st=dead ;;
    *) exit 0 ;;
esac
[ -x "$scripts/status" ] || exit 0
if grep -qE 'mach_down|ResourceManager|req_our_resources|req_resource' "$scripts/status"; then
    echo "$scripts/status is not run: it takes over resources, as Heartbeat's own did; leave in it what is yours"
    exit 0
fi
HA_command=status HA_type=status HA_src=$SYSTOLE_PEER HA_CURHOST=$SYSTOLE_NODE HA_OURUNAME=$SYSTOLE_NODE
export HA_st HA_command HA_type HA_src HA_CURHOST HA_OURUNAME
exec "$scripts/status"
