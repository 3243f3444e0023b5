# shellcheck shell=bash
#
# Shared by the scripts: where the tree is, which packages are needed, how a build is made.
# To be sourced by bash.

set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export TOP

# Needed to build, to test, to fuzz, and for the static checks.
# shellcheck disable=SC2034 # used by those who source this
{
	BUILD_PACKAGES=(autoconf automake gcc libc6-dev make pkg-config libevent-dev libhiredis-dev
		libjansson-dev libyaml-dev libssl-dev libbsd-dev libcurl4-openssl-dev liburing-dev
		zlib1g-dev)
	TEST_PACKAGES=(libcriterion-dev redis-server redis-tools chromium curl ca-certificates procps
		openssl haproxy nginx spin)
	FUZZ_PACKAGES=(clang libclang-rt-14-dev)
	CHECK_PACKAGES=(clang clang-format-14 clang-tidy-14 cppcheck shellcheck gcovr)
}

say() {
	printf '%s\n' "== $*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Runs a command as root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# missing_packages NAME...: prints those that are not installed.
missing_packages() {
	local installed name
	# A package has one line for each architecture, and dpkg-query fails for one it never met.
	# shellcheck disable=SC2016 # dpkg-query's own variables
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
		sed -n 's/ installed$//p' || true)
	for name in "$@"; do
		grep -qx -- "$name" <<<"$installed" || printf '%s\n' "$name"
	done
}

# install_packages NAME...: installs what is missing, and starts no service.
install_packages() {
	local missing name policy=/usr/sbin/policy-rc.d failed=0
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "please install: ${missing[*]}"
	[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
		die "run it as root, or install with apt-get: ${missing[*]}"
	say "installing ${missing[*]}"
	# Debian's way to say that packages must not start their services.
	if [ ! -e "$policy" ]; then
		# shellcheck disable=SC2064 # the path of now
		trap "as_root rm -f $policy" EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	# The lists may be not there at all, or old.
	apt-cache show "${missing[@]}" >/dev/null 2>&1 || as_root apt-get update -q || true
	apt_install "${missing[@]}" || {
		as_root apt-get update -q && apt_install "${missing[@]}"
	} || failed=1
	if [ -n "$(trap -p EXIT)" ]; then
		as_root rm -f "$policy"
		trap - EXIT
	fi
	[ "$failed" -eq 0 ] || die "could not install: ${missing[*]}"
	command -v systemctl >/dev/null || return 0
	# The tests start servers of their own; system-wide ones are not for us to leave behind.
	for name in redis-server haproxy nginx; do
		if [[ " ${missing[*]} " = *" $name "* ]]; then
			as_root systemctl disable "$name" >/dev/null 2>&1 || true
		fi
	done
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
}

# The tree's text files, without what was built or installed, and without the fuzz targets' inputs.
text_files() {
	(cd "$TOP" && find . \( -path ./tests/fuzz/corpus -o -name .git -o -name build -o -name node_modules -o -name autom4te.cache \
		-o -name build-aux -o -name 'fanfare-[0-9]*' \) -prune -o -type f \
		! -name configure ! -name '*~' ! -name aclocal.m4 ! -name Makefile.in ! -name config.h.in \
		! -name package-lock.json -exec grep -lI '' {} +) |
		sed 's|^\./||' | LC_ALL=C sort
}

# c_files [FOLDER...]: the C files of these folders, or of the tree.
c_files() {
	[ $# -gt 0 ] || set -- common broker worker cli bench tests
	local folders=() folder
	for folder in "$@"; do
		[ ! -d "$TOP/$folder" ] || folders+=("$folder")
	done
	(cd "$TOP" && find "${folders[@]}" -name node_modules -prune -o -name '*.[ch]' -print |
		LC_ALL=C sort)
}

cores() {
	nproc 2>/dev/null || echo 2
}

# configure_tree DIR OPTION...: brings the build directory DIR to these options of configure.
configure_tree() {
	local dir=$1
	shift
	if [ -e "$TOP/config.status" ]; then
		echo "The source tree itself is configured, which keeps builds elsewhere from working;" \
			"run: make -C $TOP distclean" >&2
		return 1
	fi
	if [ ! -e "$TOP/configure" ] || [ "$TOP/configure.ac" -nt "$TOP/configure" ]; then
		say "autoreconf"
		(cd "$TOP" && autoreconf --install) || return 1
	fi
	mkdir -p "$dir"
	if [ ! -e "$dir/config.status" ] || [ "$*" != "$(cat "$dir/.options" 2>/dev/null)" ]; then
		say "configure $*"
		(cd "$dir" && "$TOP/configure" --quiet "$@") || return 1
		# Objects of other options are of no use, and make would not notice.
		make -C "$dir" -s clean || return 1
		printf '%s\n' "$*" >"$dir/.options"
	fi
}

# build_tree DIR [TARGET...]
build_tree() {
	local dir=$1
	shift
	make -C "$dir" --no-print-directory -s -j"$(cores)" "$@"
}
