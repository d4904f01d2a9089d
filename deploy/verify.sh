#!/usr/bin/env bash
# Run what docker-compose.yml describes as plain processes, without a container engine, and look whether it
# works together. Needs the bundles of `make demo` (or BUNDLES and EXPERIMENTS) and, from Debian:
# nginx-light, prometheus, redis-server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec .venv/bin/python deploy/verify.py "$@"
