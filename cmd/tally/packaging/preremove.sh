#!/bin/sh
# Stops the service when the package is removed (dpkg: remove, rpm: 0), not upgraded.
set -e
case $1 in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      systemctl disable --now tally.service tally@serve.service tally@work.service
    fi
    ;;
esac
