# shellcheck shell=sh
# The order of a stop. mesos-dind sources this file for `mesos-dind boot`.
#
# 1. drain_agent    the agent gets its drain signal, and SIGKILL after half of the stop timeout
# 2. stop_engine    dockerd stops every inner container with the container's own signal, then ends
# 3. end_processes  every other process gets SIGTERM, then SIGKILL
# 4. unmount        the data root goes back to its storage
#
# Step 1 begins with SIGTERM or SIGINT to the container; the other steps begin when the agent has ended (shut_down).

data_root=/var/lib/docker

# Tell the agent to end; during the boot and for any other command by SIGTERM. Called by a trap, more than once maybe.
drain_agent() {
    [ -z "$stopping" ] || return 0
    stopping=yes
    drain=TERM
    if [ -e "$run/handed-over" ]; then read -r drain <"$run/drain-signal"; fi
    kill -s "$drain" "$child" 2>/dev/null
    read_clock
    stopped_at=$now
    read_bound
    # An agent that ignores the signal leaves the engine the other half of the time.
    kill_child_after $(((bound + 1) / 2))
}

kill_child_after() {
    (
        # shellcheck disable=SC2086 # words
        trap - TERM INT $forwarded
        sleep "$1"
        kill -s KILL "$child" 2>/dev/null
    ) &
}

# Steps 2 to 4, after the agent has ended. A stop that no signal began starts its clock here.
shut_down() {
    [ -e "$run/settings.json" ] || return 0 # the boot refused its settings: there is nothing to stop
    # If the boot was cut short, its other processes must begin nothing more.
    [ -e "$run/handed-over" ] || kill -s TERM -- "-$child" 2>/dev/null
    read_clock
    : "${stopped_at:=$now}"
    read_bound
    # Milliseconds that are kept for end_processes.
    grace=$((bound < 8 ? bound * 125 : 1000))
    end=$((stopped_at + bound * 1000 - grace))
    # Containers that the engine has not stopped get the rest of the time.
    stop_engine || grace=$((grace + $(until_end)))
    s6-svscanctl -t "$services" 2>/dev/null
    end_processes "$grace"
    unmount
}

# Stop dockerd and let it stop the containers. Fails if containers may be left.
#
# With live restore, containers would outlive the engine. With live restore switched off, dockerd ends each with its own
# signal and timeout. Unlike `docker stop`, it does not mark them as stopped by hand. dockerd must answer before it gets
# SIGHUP: SIGHUP ends a dockerd that still starts (moby, cmd/dockerd/daemon.go: setupConfigReloadTrap comes just before
# the API).
stop_engine() {
    dockerd_is_up || return
    # An engine that hangs stops no container, so half of the time is left to them.
    limit=$(($(until_end) / 2))
    read_clock
    half=$((now + limit))
    until has_live_restore "$limit"; do
        dockerd_is_up || return
        read_clock
        limit=$((half - now))
        if [ "$limit" -le 0 ]; then
            s6-svc -dk "$services/dockerd"
            fail_to_stop
            return
        fi
    done
    sed -i 's/"live-restore": true/"live-restore": false/' "$run/daemon.json"
    s6-svc -h "$services/dockerd"
    while has_live_restore "$(until_end)" && [ "$(until_end)" -gt 1 ]; do :; done
    s6-svc -d "$services/dockerd"
    s6-svwait -D -t "$(until_end)" "$services/dockerd" 2>/dev/null || fail_to_stop
}

dockerd_is_up() {
    [ "$(s6-svstat -o up "$services/dockerd" 2>/dev/null)" = true ]
}

has_live_restore() {
    [ "$(client "$1" info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)" = true ]
}

fail_to_stop() {
    read_clock
    say "the engine did not stop within $(((now - stopped_at + 500) / 1000)) s"
    return 1
}

# End the executors and tasks that outlive their agent: they keep the mount busy. They get SIGTERM, and SIGKILL after so
# many milliseconds. Each process is named: with `docker run --init`, a parent of this shell is not PID 1.
end_processes() {
    # shellcheck disable=SC2046 # words
    [ -z "$(other_processes)" ] || kill -s TERM $(other_processes) 2>/dev/null
    read_clock
    limit=$((now + $1))
    while left=$(other_processes) && [ -n "$left" ] && [ "$now" -lt "$limit" ]; do
        sleep 0.02
        read_clock
    done
    limit=$((now + 1000))
    while [ -n "$left" ] && [ "$now" -lt "$limit" ]; do
        # shellcheck disable=SC2086 # words
        kill -s KILL $left 2>/dev/null
        sleep 0.02
        read_clock
        left=$(other_processes)
    done
    # shellcheck disable=SC2086 # one line
    [ -z "$left" ] || say "not even SIGKILL has ended the processes" $left
}

# Print the pids of the container's living processes, except the two inits and this shell with its helpers.
other_processes() {
    ps -e -o pid= -o pgid= -o stat= | awk -v init="$PPID" -v own="$(ps -o pgid= -p $$)" \
        '$1 != 1 && $1 != init && $2 != own + 0 && $3 !~ /^Z/ { print $1 }'
}

unmount() {
    if ! umount -R "$data_root" 2>"$run/umount.log" && mountpoint -q "$data_root"; then
        say "$data_root could not be unmounted: $(cat "$run/umount.log")"
    fi
}

# Set now to the milliseconds since the machine started. Not in $(...): a trap would wait for that process.
read_clock() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}0
}

# Set bound to the seconds that a stop may take.
read_bound() {
    bound=8
    if [ -e "$run/stop-timeout" ]; then read -r bound <"$run/stop-timeout"; fi
}

# Print the milliseconds that are left until the end; at least 1.
until_end() {
    read_clock
    [ "$end" -gt "$now" ] && echo $((end - now)) || echo 1
}
