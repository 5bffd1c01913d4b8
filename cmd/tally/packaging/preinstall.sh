#!/bin/sh
# Creates the user that the service runs as.
set -e
getent group tally >/dev/null || groupadd --system tally
getent passwd tally >/dev/null ||
  useradd --system --gid tally --home-dir /var/lib/tally --no-create-home --shell /usr/sbin/nologin tally
