#!/bin/sh
# Restarts a running service after an upgrade. A first installation starts nothing: the
# operator chooses the sources and the database first.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart tally.service 'tally@*.service'
fi
