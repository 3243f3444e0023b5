# shellcheck shell=bash
#
# Starts and stops what scripts/bench measures: Fanfare, the floors and the peers, each pinned to
# the server's core.  To be sourced by bash, after scripts/lib.sh.
#
# cores_of[NAME] are other cores for that server.  Expects the programs in fanfare and bench, and the servers' core in server_cpu.
# start_server NAME leaves in pid[NAME] its process and in target[NAME] the options with which the
# tool reaches it; it fails where the server is not installed.

: "${fanfare:?}" "${bench:?}" "${server_cpu:?}"
declare -A pid=() target=() cores_of=()
run_dir=$(mktemp -d "${TMPDIR:-/tmp}/fanfare-bench.XXXXXX")
# nginx's workers give up being root.
chmod 755 "$run_dir"

# What is measured beside Fanfare, and what has to be installed for it.
# shellcheck disable=SC2034 # used by those who source this
declare -A peer_needs=([redis]=redis-server [nats]=nats-server
	[nchan]="nginx libnginx-mod-nchan" [ws]=nodejs)

stop_server() {
	[ -n "${pid[$1]-}" ] || return 0
	kill "${pid[$1]}" 2>/dev/null || true
	wait "${pid[$1]}" 2>/dev/null || true
	unset "pid[$1]" "target[$1]"
}

stop_servers() {
	local name group
	for name in "${!pid[@]}"; do
		stop_server "$name"
	done
	for group in "${groups[@]}"; do
		rmdir "$group" 2>/dev/null || true
	done
	rm -rf "$run_dir"
}

# Where the kernel has groups of processes with a bound of CPU time, and we may make some.
groups=()
group_root() {
	if [ -w /sys/fs/cgroup/cpu/cpu.cfs_quota_us ] || [ -w /sys/fs/cgroup/cpu/cgroup.procs ]; then
		echo /sys/fs/cgroup/cpu
	elif grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null &&
		[ -w /sys/fs/cgroup/cgroup.procs ]; then
		echo /sys/fs/cgroup
	else
		return 1
	fi
}

# hold_workers NAME: from now on each of its workers has a fifth of a core.
hold_workers() {
	local root group worker
	root=$(group_root)
	while read -r worker; do
		group=$root/fanfare-bench-$$-$worker
		mkdir "$group"
		groups+=("$group")
		if [ -e "$group/cpu.max" ]; then
			echo "20000 100000" >"$group/cpu.max"
		else
			echo 100000 >"$group/cpu.cfs_period_us"
			echo 20000 >"$group/cpu.cfs_quota_us"
		fi
		echo "$worker" >"$group/cgroup.procs"
	done < <(pgrep -P "${pid[$1]}" -f '^fanfare: worker')
}

listens() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A port that nobody listens on, below those of outgoing connections.
free_port() {
	local port
	while :; do
		port=$((10000 + RANDOM % 20000))
		listens "$port" || break
	done
	echo "$port"
}

# launch NAME PORT COMMAND...: waits until it listens there.
launch() {
	local name=$1 port=$2 i
	shift 2
	taskset -c "${cores_of[$name]:-$server_cpu}" "$@" >"$run_dir/$name.log" 2>&1 </dev/null &
	pid[$name]=$!
	for ((i = 0; i < 100; i++)); do
		kill -0 "${pid[$name]}" 2>/dev/null || break
		if listens "$port"; then
			return 0
		fi
		sleep 0.1
	done
	tail -5 "$run_dir/$name.log" >&2
	die "$name does not start"
}

# start_fanfare NAME WORKERS [MORE OF ITS CONFIGURATION]
start_fanfare() {
	local name=$1 port internal scheme=ws flags='' options=''
	port=$(free_port) internal=$(free_port)
	if [ "$name" = fanfare-tls ]; then
		scheme=wss flags=' tls' options=" --ca $run_dir/cert.pem"
	fi
	cat >"$run_dir/$name.yaml" <<END
workers: $2
listen: {public: ["127.0.0.1:$port$flags"], internal: ["127.0.0.1:$internal"]}
log: {level: warn}
limits: {queue: 64MiB}
channels: [{match: "*", publish: anyone}]
${3-}
END
	launch "$name" "$internal" "$fanfare" -c "$run_dir/$name.yaml"
	target[$name]="--url $scheme://127.0.0.1:$port --publish-url http://127.0.0.1:$internal$options"
}

# A certificate for this run alone.
start_fanfare_tls() {
	command -v openssl >/dev/null || return 1
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
		-keyout "$run_dir/key.pem" -out "$run_dir/cert.pem" 2>/dev/null
	start_fanfare fanfare-tls 1 "tls: {certificates: [\"$run_dir/cert.pem $run_dir/key.pem\"]}"
}

start_floor() {
	local port
	port=$(free_port)
	launch "$1" "$port" "$bench" floor --mode "${1#floor-}" --listen "127.0.0.1:$port"
	target[$1]="--preset floor --url ws://127.0.0.1:$port"
}

start_redis() {
	local port
	port=$(free_port)
	command -v redis-server >/dev/null || return 1
	launch redis "$port" redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
		--dir "$run_dir" --client-output-buffer-limit "pubsub 0 0 0"
	target[redis]="--preset redis --url 127.0.0.1:$port"
	redis_port=$port
}

start_nats() {
	local port
	port=$(free_port)
	command -v nats-server >/dev/null || return 1
	sed "s|@PORT@|$port|; s|@PLAIN@|$(free_port)|" "$TOP/bench/peers/nats.conf.in" \
		>"$run_dir/nats.conf"
	launch nats "$port" nats-server -c "$run_dir/nats.conf"
	target[nats]="--preset nats --url ws://127.0.0.1:$port"
}

start_nchan() {
	local port modules
	port=$(free_port)
	modules=$(dirname "$(find /usr/lib/nginx /usr/lib64/nginx /usr/share/nginx \
		-name ngx_nchan_module.so 2>/dev/null | head -1)")
	command -v nginx >/dev/null && [ "$modules" != . ] || return 1
	sed "s|@PORT@|$port|; s|@DIR@|$run_dir|; s|@MODULES@|$modules|" \
		"$TOP/bench/peers/nginx.conf.in" >"$run_dir/nginx.conf"
	launch nchan "$port" nginx -p "$run_dir" -c "$run_dir/nginx.conf"
	target[nchan]="--preset nchan --url ws://127.0.0.1:$port"
}

start_ws() {
	local port
	port=$(free_port)
	command -v node >/dev/null && [ -d "$TOP/tests/system/node_modules/ws" ] || return 1
	launch ws "$port" node "$TOP/bench/peers/ws.mjs" "$port" "$TOP/tests/system"
	# shellcheck disable=SC2034 # used by those who source this
	target[ws]="--preset ws --url ws://127.0.0.1:$port"
}

start_server() {
	case $1 in
	fanfare-redis) start_fanfare "$1" 1 "redis: {url: \"redis://127.0.0.1:$redis_port\"}" ;;
	fanfare-deflate) start_fanfare "$1" 1 "deflate: {enabled: true}" ;;
	fanfare-tls) start_fanfare_tls ;;
	fanfare | fanfare-one-wide) start_fanfare "$1" 1 ;;
	fanfare-two*) start_fanfare "$1" 2 ;;
	floor-*) start_floor "$1" ;;
	*) "start_$1" ;;
	esac || return
	if [ "${held-no}" = yes ] && [[ $1 = *-wide ]]; then
		hold_workers "$1"
	fi
}
