# Functions that the scripts share; sourced, not run.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian keeps ip, tcpdump and ethtool where a user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

die() {
	printf '%s\n' "$@" >&2
	exit 1
}

# version_at_least HAVE WANT compares "major.minor"; what follows is ignored.
version_at_least() {
	local have_major have_minor want_major want_minor rest
	IFS=. read -r have_major have_minor rest <<<"$1."
	IFS=. read -r want_major want_minor rest <<<"$2."
	have_major=${have_major%%[^0-9]*} have_minor=${have_minor%%[^0-9]*}
	((${have_major:-0} > want_major ||
		(${have_major:-0} == want_major && ${have_minor:-0} >= want_minor)))
}

# go_version GO prints for example 1.26.3, and nothing if GO is no Go.
go_version() {
	GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed 's/^go//'
}

# find_go puts a Go that is new enough in front of PATH. sudo's secure_path and
# login shells often lack the place where Go was unpacked, so the usual ones are
# looked at too.
find_go() {
	local want=$1 home found="" dir v
	home=$HOME
	if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
		home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
	fi
	# GO_PLACES stands for the usual places in the tests of this file.
	local places=${GO_PLACES-"/usr/local/go/bin:$home/go/bin:$home/sdk/go*/bin:$home/.local/go/bin:/usr/lib/go-*/bin:/opt/go/bin:/snap/bin"}
	local IFS=:
	for dir in $PATH ${GOROOT:+"$GOROOT/bin"} $places; do
		[ -x "$dir/go" ] || continue
		v=$(go_version "$dir/go") || continue
		if [ -n "$v" ] && version_at_least "$v" "$want"; then
			PATH=$dir:$PATH
			export PATH
			return 0
		fi
		case ", $found, " in
		*", ${v:-unknown} in $dir, "*) ;;
		*) found="$found${found:+, }${v:-unknown} in $dir" ;;
		esac
	done
	found_go=$found
	return 1
}

# require_go stops unless find_go finds one.
require_go() {
	find_go 1.26 || die "Go 1.26 or newer is needed; found: ${found_go:-none}." \
		"Unpack one from https://go.dev/dl/ to /usr/local/go, or put it on PATH."
}

# as_root runs a command with root's rights and our PATH.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -E env "PATH=$PATH" "$@"
	fi
}

# as_caller runs a command as the user who typed it, also under sudo, so that no
# file in the tree or the build cache comes to belong to root.
as_caller() {
	if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] &&
		[ "$(stat -c %U .)" = "$SUDO_USER" ]; then
		sudo -u "$SUDO_USER" -H env "PATH=$PATH" "$@"
	else
		"$@"
	fi
}

# install_packages PACKAGE… installs those that are missing, and asks the
# mirror for its lists only then.
install_packages() {
	local missing=() p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing: ${missing[*]}"
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
	as_root "${apt[@]}" update </dev/null >/dev/null ||
		die "apt-get update failed; needed are: ${missing[*]}"
	local ok=
	no_services
	as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null >/dev/null && ok=1
	services_again
	[ -n "$ok" ] || die "apt-get could not install: ${missing[*]}"
}

# no_services keeps a package's installation from starting its daemons (Open
# vSwitch's would): the tests start their own. services_again undoes it.
no_services() {
	made_policy=
	[ ! -e /usr/sbin/policy-rc.d ] || return 0
	printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
	as_root chmod 755 /usr/sbin/policy-rc.d
	made_policy=1
}

services_again() {
	[ -z "$made_policy" ] || as_root rm -f /usr/sbin/policy-rc.d
}
