# shellcheck shell=sh
# The boot's process, its signals and its exit status. mesos-dind sources this file for `mesos-dind boot`.

forwarded='HUP QUIT USR1 USR2 WINCH ALRM'

# Start the boot's process and s6. When the process has ended, stop everything and exit with its status.
boot() {
    refuse_second_boot
    refuse_read_only
    rm -rf "$run" # from an earlier life of this container
    mkdir -p "$run"

    # A shell gives /dev/null to its background children unless it is told otherwise. It keeps a copy of the descriptor
    # that it was told to give.
    exec 3<&0
    (entry boot "$@") <&3 3<&- &
    child=$!
    exec 3<&- </dev/null
    echo "$child" >"$run/agent.pid"

    stopping=
    stopped_at=
    trap 'note_interruption $?; drain_agent' TERM INT
    for signal in $forwarded; do
        # shellcheck disable=SC2064 # the signal's name is meant to be expanded now
        trap "note_interruption \$?; forward $signal" "$signal"
    done
    # dockerd takes defaults of its flags from these two variables.
    env -u DOCKER_TLS_VERIFY -u DOCKER_CERT_PATH setsid s6-svscan "$services" &
    await_child
    # shellcheck disable=SC2086 # words
    trap : TERM INT $forwarded
    shut_down
    exit "$(exit_status "$status")"
}

# The container's first process has no parent in its pid namespace, nor has a command of `docker exec`. A shell in
# the container gives its commands a parent, but s6 runs by then. After a restart, the earlier s6's pipe has no reader.
refuse_second_boot() {
    if { [ "$PPID" -eq 0 ] && [ $$ -ne 1 ]; } ||
        { [ -e "$services/dockerd/supervise/control" ] && s6-svok "$services/dockerd"; }; then
        say "boot runs once, when the container starts; to run the boot's playbook again: mesos-dind converge"
        exit 64
    fi
}

refuse_read_only() {
    [ ! -w "$services" ] || return 0
    if [ "$(id -u)" -eq 0 ]; then
        say "preflight: the container's file system is read-only; start it without --read-only"
    else
        say "preflight: the user is $(id -u) and not root; start the container without --user"
    fi
    exit 70
}

# Wait for the boot's process, which becomes the agent. Sets status to its exit status.
await_child() {
    while
        interrupted=
        wait "$child"
        status=$?
        [ -n "$interrupted" ]
    do :; done
    # A signal at the very moment of the child's end may make wait report the signal. A second wait reports the child's
    # status, or 127 if the first one already did.
    wait "$child"
    latest=$?
    [ "$latest" -eq 127 ] || status=$latest
}

# A signal arrived after a command with this status. Above 128, the signal interrupted a wait; unless the child is gone,
# because wait had just collected its status.
note_interruption() {
    if [ "$1" -gt 128 ] && kill -0 "$child" 2>/dev/null; then interrupted=yes; fi
}

# Pass a signal on to the agent. During the boot, every signal but WINCH would end Ansible, so it stops the boot.
forward() {
    if [ -e "$run/handed-over" ] || [ "$1" = WINCH ]; then
        kill -s "$1" "$child" 2>/dev/null
    else
        [ -n "$stopping" ] || say "stopped by SIG$1 during the boot"
        drain_agent
    fi
}

# Print the container's exit status: after the hand-over the agent's, before it a documented one. Ansible's own statuses
# (1, 2, 4, 250) mean nothing to the container's user.
exit_status() {
    if [ -e "$run/handed-over" ]; then
        echo "$1"
    elif [ -n "$stopping" ]; then
        echo 143
    else
        case $1 in
        64 | 126 | 127) echo "$1" ;;
        *) echo 70 ;;
        esac
    fi
}
