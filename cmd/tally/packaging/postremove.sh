#!/bin/sh
# The data folder and the user stay.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
