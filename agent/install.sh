#!/bin/sh
# What cloud-init runs, once: hands the machine to systemd, which runs the program in it at this boot and at every later one.
# No Python yet: where machines are slow, to start it takes half a second.
set -eu
umask 022
root=${DEVOPSCTL_ROOT:-} # Of the sandbox's process machines, which have no systemd: there this is run once a boot.
if [ -z "$root" ] && ! { [ "$(id -u)" = 0 ] && grep -qx aws /run/cloud-init/cloud-id; } 2>/dev/null; then
    echo "This program sets up EC2 instances, as root; nothing was done here." >&2
    exit 1
fi
mkdir -p "$root/opt/devopsctl"
cat >"$root/opt/devopsctl/bootstrap.py" <<'PROGRAM'
@PROGRAM@
PROGRAM
[ -z "$root" ] || exec python3 "$root/opt/devopsctl/bootstrap.py"
cat >/etc/systemd/system/devopsctl-agent.service <<'UNIT'
[Unit]
Description=devopsctl agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -S /opt/devopsctl/bootstrap.py
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf ../devopsctl-agent.service /etc/systemd/system/multi-user.target.wants/devopsctl-agent.service
# A unit that is new needs no reload.
exec systemctl start --no-block devopsctl-agent.service
