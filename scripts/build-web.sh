#!/usr/bin/env bash
# Builds the page when something it is made of has changed since.
set -euo pipefail
cd "$(dirname "$0")/../web"
if [ -e dist/index.html ] && [ -z "$(find src index.html public package-lock.json vite.config.ts -newer dist/index.html -print -quit 2>/dev/null)" ]; then
  exit 0
fi
npm run --silent build
touch dist/index.html
