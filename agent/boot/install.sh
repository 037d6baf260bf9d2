#!/bin/sh
# cloud-init runs this once. It installs a unit that runs the program below at this boot and at every later one.
# It starts no Python, and as few programs as possible: on slow machines each takes long.
set -eu
umask 022
root=${DEVOPSCTL_ROOT:-} # Set on the sandbox's process machines, which have no systemd and run this at each boot.
units=/etc/systemd/system cloud=
if [ -z "$root" ]; then
    { [ -w $units ] && read -r cloud </run/cloud-init/cloud-id; } 2>/dev/null || cloud=
    case $cloud in
    aws | aws-china | aws-gov) ;; # cloud-init's names for the partitions.
    *)
        echo "This program sets up EC2 instances, as root. It changed nothing here." >&2
        exit 1
        ;;
    esac
fi
mkdir -p "$root/opt/devopsctl"
cat >"$root/opt/devopsctl/bootstrap.py" <<'PROGRAM'
@PROGRAM@
PROGRAM
[ -z "$root" ] || exec python3 "$root/opt/devopsctl/bootstrap.py"
echo "[Unit]
Description=devopsctl agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -S /opt/devopsctl/bootstrap.py
Restart=always
RestartSec=2
LimitCORE=0
[Install]
WantedBy=multi-user.target" >$units/devopsctl-agent.service
[ -d $units/multi-user.target.wants ] || mkdir $units/multi-user.target.wants
ln -sf ../devopsctl-agent.service $units/multi-user.target.wants/devopsctl-agent.service
# A new unit needs no reload.
exec systemctl start --no-block devopsctl-agent.service
