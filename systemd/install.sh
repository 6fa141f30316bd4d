#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs shelfgate on a gateway, or brings an installation up to date. Settings and the store
# file are never overwritten, and nothing is started that was not running.
#
#   sudo systemd/install.sh [--vision] [--remove]
#
# DESTDIR=/some/folder installs the files alone, below that folder.
set -eu

vision=''
remove=''
for option in "$@"; do
    case "$option" in
        --vision) vision=1 ;;
        --remove) remove=1 ;;
        --help | -h)
            sed -n '3,8s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            echo "install.sh: $option: unknown option. Try --help" >&2
            exit 2
            ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
root=${DESTDIR:-}
units="$root/etc/systemd/system"

if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    echo 'install.sh: needs root. Run it with sudo' >&2
    exit 1
fi

# Runs what changes the running system; nothing under DESTDIR.
system() {
    if [ -z "$root" ]; then "$@"; fi
}

if [ -n "$remove" ]; then
    system systemctl disable --now shelfgate.service shelfgate-vision.service || true
    rm -f "$units/shelfgate.service" "$units/shelfgate-vision.service" \
        "$root/usr/lib/sysusers.d/shelfgate.conf" "$root/usr/lib/tmpfiles.d/shelfgate.conf" \
        "$root/etc/udev/rules.d/70-shelfgate.rules" "$root/usr/local/bin/shelfgate"
    rm -rf "$root/opt/shelfgate"
    system systemctl daemon-reload
    echo 'Removed. /etc/shelfgate and /var/lib/shelfgate are kept: settings, carts and events.'
    exit 0
fi

put() { install -D -m 0644 "$1" "$root$2"; }

put "$here/shelfgate.sysusers" /usr/lib/sysusers.d/shelfgate.conf
put "$here/shelfgate.tmpfiles" /usr/lib/tmpfiles.d/shelfgate.conf
put "$here/70-shelfgate.rules" /etc/udev/rules.d/70-shelfgate.rules
put "$here/shelfgate.service" /etc/systemd/system/shelfgate.service
if [ -n "$vision" ]; then
    put "$here/shelfgate-vision.service" /etc/systemd/system/shelfgate-vision.service
fi
mkdir -p "$root/usr/local/bin"
ln -sfn /opt/shelfgate/bin/shelfgate "$root/usr/local/bin/shelfgate"
for document in "$source"/docs/*.md "$source"/docs/*.json; do
    put "$document" "/opt/shelfgate/share/docs/$(basename "$document")"
done
for sample in "$source"/docs/samples/*; do
    put "$sample" "/opt/shelfgate/share/docs/samples/$(basename "$sample")"
done
for file in settings.toml store.toml planogram.csv; do
    if [ ! -e "$root/etc/shelfgate/$file" ]; then
        install -D -m 0640 "$source/docs/samples/$file" "$root/etc/shelfgate/$file"
    fi
done

system systemd-sysusers
system systemd-tmpfiles --create /usr/lib/tmpfiles.d/shelfgate.conf
system chgrp -R shelfgate /etc/shelfgate
system chmod -R g+rX /etc/shelfgate
system chgrp -R root /etc/shelfgate/credentials
system chmod 0700 /etc/shelfgate/credentials
system udevadm control --reload

if [ -z "$root" ]; then
    extras=''
    if [ -n "$vision" ]; then extras='[vision]'; fi
    [ -x /opt/shelfgate/bin/python ] || python3 -m venv /opt/shelfgate
    pip="/opt/shelfgate/bin/python -m pip --disable-pip-version-check install --quiet"
    # Word splitting is wanted: a command and its options.
    # shellcheck disable=SC2086
    $pip --constraint "$source/.ci/constraints.txt" setuptools
    # shellcheck disable=SC2086
    $pip --constraint "$source/.ci/constraints.txt" --no-build-isolation --upgrade "$source$extras"
fi

system systemctl daemon-reload
system systemctl try-restart shelfgate.service
if [ -n "$vision" ]; then system systemctl try-restart shelfgate-vision.service; fi

cat <<'END'
Installed. Next:
  1. edit /etc/shelfgate/settings.toml and /etc/shelfgate/store.toml
  2. /opt/shelfgate/bin/shelfgate check --settings /etc/shelfgate/settings.toml --store /etc/shelfgate/store.toml
  3. systemctl enable --now shelfgate        (and shelfgate-vision where there are cameras)
END
